"""Judgements that many checks share: an answer came, a refusal came in the right form. Pure.

Takes Exchanges; gives None where they are as the protocol says, else a Problem.
"""

from __future__ import annotations

from fairlead.core.interface import Tensors
from fairlead.errors import FairleadError
from fairlead.probe.conformance.outcome import Outcome, Problem
from fairlead.probe.http_client import Exchange
from fairlead.probe.tensors import are_alike, read_answer


def answers(exchange: Exchange, says: str, *, is_required: bool = True) -> Problem | None:
    """A 200 has to come."""
    return None if exchange.status == 200 else Problem(exchange.sent, exchange.came, says, is_required)


def refused(exchange: Exchange, says: str, *, status: int = 400, is_required: bool = True) -> Problem | None:
    """A refusal has to come, with `{"error": "..."}`; `status` is what clients expect, any other 4xx or 5xx is a lesser problem."""
    if exchange.status < 400:
        return Problem(exchange.sent, exchange.came, says, is_required)
    content = exchange.content
    if not isinstance(content, dict) or not isinstance(content.get("error"), str) or not content["error"]:
        return Problem(exchange.sent, exchange.came, f'{says}, with a body {{"error": "..."}}', is_required)
    if exchange.status != status:
        return Problem(exchange.sent, exchange.came, f"{says}, as status {status}", is_required=False)
    return None


def survives(exchange: Exchange, says: str) -> Problem | None:
    """Anything but a failure of the server: what the client sent was at most wrong."""
    if exchange.status == 0 or exchange.status >= 500:
        return Problem(exchange.sent, exchange.came, says, is_required=False)
    if exchange.status >= 400:
        return refused(exchange, says, status=exchange.status)
    return None


def gives(exchange: Exchange, expected: Tensors, says: str, *, is_required: bool = True) -> Problem | None:
    """The outputs have to be these."""
    problem = answers(exchange, says, is_required=is_required)
    if problem is not None:
        return problem
    try:
        outputs = read_answer(exchange.body, exchange.headers)[1]
    except FairleadError as error:
        return Problem(exchange.sent, f"{exchange.came} ({error.message})", says, is_required)
    return None if are_alike(expected, outputs) else Problem(exchange.sent, exchange.came, says, is_required)


def first(*outcomes: Outcome) -> Outcome:
    """Return the gravest outcome: a required Problem, another Problem, then whatever is not None."""
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    return next(
        (problem for problem in problems if problem.is_required),
        next(iter(problems), next((outcome for outcome in outcomes if outcome is not None), None)),
    )
