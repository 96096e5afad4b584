"""Why the others were not taken, and what would have to give: every point of a search held against the promise.

Takes the points, the proof and the Trials; gives a core Ledger. What may be lost counts as it is worst, on the rows that chose or on those
of the verdict: a bound that a model keeps on one half by luck does not work when it is typed. So models that the ledger names are asked for
the rows of the verdict, too. Never proves one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fairlead.app.prove import Proof
from fairlead.app.search_finish import Contender
from fairlead.app.search_trials import Trials
from fairlead.app.trial_quality import Judge
from fairlead.core.conversion import RuntimeForm
from fairlead.core.ledger import Ledger, Measured, measured_from
from fairlead.core.requirement import Requirement
from fairlead.core.search import PointStatus, SearchPoint
from fairlead.errors import FairleadError
from fairlead.plan.ledger import account
from fairlead.verify.run_rows import run_in_pieces, run_reference

_ASKED = 8  # models, at most: each that is named may be worse on the other rows, and another one takes its place


def ledger_of(
    points: Sequence[SearchPoint], proof: Proof, trials: Trials, contenders: Sequence[Contender], *, is_over: Callable[[], bool]
) -> Ledger:
    """Return the ledger of a search. `contenders` are those whose files are known by name."""
    requirements = trials.setup.trial.plan.requirements
    proven = {verdict.candidate: measured_from(verdict) for verdict in (*proof.before, proof.verdict)}
    measured: dict[str, Measured] = {}
    for point in points:
        if point.status is not PointStatus.DUPLICATE:
            failure = point.reason if point.status is PointStatus.FAILED else ""
            known = Measured(point.candidate.name, point.values, failure)
            measured[known.candidate] = _joined(known, proven.get(known.candidate), requirements)
    ledger = account(list(measured.values()), requirements)
    if proof.verdict.is_green:
        return ledger
    paths = {one.candidate.name: one.path for one in contenders}
    asked, judge = set(proven), None
    for _ in range(_ASKED):
        name = next((one for one in _named(ledger) if one not in asked), None)
        if name is None or is_over():
            break
        asked.add(name)
        judge = judge or _judge(trials)
        point = next(one for one in points if one.candidate.name == name)
        seen = _seen(point, trials, judge, paths)
        measured[name] = replace(measured[name], values=_worse(measured[name].values, seen, requirements))
        ledger = account(list(measured.values()), requirements)
    return ledger


def _joined(known: Measured, proven: Measured | None, requirements: Sequence[Requirement]) -> Measured:
    """What the verdict measured where there is one, but for what was worse on the rows that chose."""
    return known if proven is None else replace(proven, values=_worse(proven.values, known.values, requirements))


def _worse(values: Mapping[str, float], others: Mapping[str, float], requirements: Sequence[Requirement]) -> dict[str, float]:
    """Return `values`, those that say what was lost as they are worse. What is no number is worst."""
    found = dict(values)
    for item in requirements:
        if item.is_loss_bound and item.name in values and item.name in others:
            known = (values[item.name], others[item.name])
            none = next((value for value in known if value != value), None)  # noqa: PLR0124 - NaN is not itself
            found[item.name] = none if none is not None else min(known) if item.is_minimum else max(known)
    return found


def _named(ledger: Ledger) -> list[str]:
    """The models that fit by what the ledger says has to give."""
    first = (ledger.relaxation,) if ledger.relaxation is not None else ledger.together
    return [one.candidate for one in (*first, *ledger.alternatives)]


def _judge(trials: Trials) -> Judge:
    rows = trials.setup.rows.verdict
    return replace(trials.setup.judge, rows=rows, original=run_reference(trials.setup.reference, rows.inputs))


def _seen(point: SearchPoint, trials: Trials, judge: Judge, paths: Mapping[str, Path]) -> Mapping[str, float]:
    """What a model shows on the rows of the verdict; nothing where its files are gone, or it does not run there."""
    candidate = point.candidate
    path = paths.get(candidate.name)
    if path is None and candidate.form == RuntimeForm.ONNX.value and candidate.passes in trials.made:
        path = trials.made[candidate.passes][0]
    if path is None:
        return {}
    try:
        engine = trials.meter.opener(candidate, path)()
        try:
            return judge.values(run_in_pieces(engine, judge.rows.inputs))
        finally:
            engine.close()
    except FairleadError:
        return {}
