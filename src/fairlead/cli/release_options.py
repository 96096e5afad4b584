"""The options of a release, and what they ask for: from what was typed, or from the version's own plan, to a ReleaseRequest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from fairlead.app.planned_release import PlannedRelease, planned_release
from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.release_spec import SHADOW_TIME_S, STEP_TIME_S, gate_of
from fairlead.app.servers import WAIT_S
from fairlead.app.wiring import House
from fairlead.cli.printing import Duration
from fairlead.core.gate import ALPHA, MIN_REQUESTS
from fairlead.core.release import ReleaseKind, ReleaseStep
from fairlead.core.release_text import parse_segment, parse_share, parse_steps
from fairlead.errors import FairleadError, SpecError

F = TypeVar("F", bound=Callable[..., Any])
_FLAGS = {"shadow_time_s": "for", "step_time_s": "step-time", "segments": "segment", "is_held": "hold", "min_requests": "min-requests"}
_GATE_HELP = (
    "What must not get worse, e.g. 'error_rate, p99_ms<=20, accuracy'. Where requests are batched, cluster=8 beside the metrics counts as "
    "one what shares a batch of up to 8."
)
_PLANNED = ("canary", "shadow", "shadow_time_s", "gate", "alpha", "min_requests", "twin")

wait_option = click.option("--wait", "wait_s", type=Duration(), default=WAIT_S, help="How long to wait for servers.  [default: 60s]")


def split_options(function: F) -> F:
    """Add the options that a canary and an experiment share."""
    for option in (
        click.option("--segment", "segments", multiple=True, metavar="HEADER=VALUE", help="They go to the candidate; or =VALUE:ARM."),
        click.option("--sticky", metavar="NAME", help="Draw by this parameter or header, e.g. user_id, instead of by request."),
        click.option("--min-requests", type=click.IntRange(1), default=MIN_REQUESTS, show_default=True, help="What a metric has to see."),
        click.option("--alpha", type=float, default=ALPHA, show_default=True, help="False roll-backs per release, at most."),
        click.option("--gate", metavar="METRICS", help=_GATE_HELP),
    ):
        function = option(function)
    return function


def typed_request(version: str, alias: str, options: Mapping[str, Any]) -> ReleaseRequest | None:
    """Return what the options ask for beside a promotion at once; None where they ask for nothing else."""
    canary, shadow = options["canary"], options["shadow"]
    if canary is None and shadow is None:
        for name in ("shadow_time_s", "step_time_s", "gate", "sticky", "segments", "twin", "is_held"):
            if options[name]:
                flag = _FLAGS.get(name, name)
                raise SpecError(f"--{flag} needs a canary or a shadow.", hint='Add --canary "1%,10%,50%" or --shadow 20%.')
        return None
    kind = ReleaseKind.CANARY if canary is not None else ReleaseKind.SHADOW
    if options["shadow_time_s"] is not None and kind is ReleaseKind.CANARY:
        raise SpecError("--for is the time of a shadow alone.", hint="With --canary, each step lasts --step-time.")
    shadow_step = (ReleaseStep(0.0, _positive(shadow)),) if shadow is not None else ()
    default_s = STEP_TIME_S if kind is ReleaseKind.CANARY else SHADOW_TIME_S
    given_s = options["step_time_s"] if kind is ReleaseKind.CANARY else options["shadow_time_s"]
    return ReleaseRequest(
        kind,
        version,
        alias,
        steps=(*shadow_step, *(parse_steps(canary) if canary is not None else ())),
        gate=gate_of(options["gate"], kind, alpha=options["alpha"], min_requests=options["min_requests"]),
        min_step_s=default_s if given_s is None else given_s,
        sticky=options["sticky"] or "",
        segments=tuple(parse_segment(text) for text in options["segments"]),
        twin_share=parse_share(options["twin"]) if options["twin"] is not None else 0.0,
        is_held=options["is_held"],
        allow_interface_change=options["allow_interface_change"],
    )


def _positive(text: str) -> float:
    share = parse_share(text)
    if not share:
        raise SpecError("A shadow of nothing compares nothing.", hint="Write it like --shadow 20%.")
    return share


def planned_request(version: str, alias: str, options: Mapping[str, Any], house: House) -> tuple[ReleaseRequest | None, list[str]]:
    """Return what the version's own plan asks for, with what was typed besides (None: at once), and the plan in lines, with its reasons.

    Raises SpecError where the version has no plan, or something typed says what the plan says.
    """
    context = click.get_current_context()
    for name in _PLANNED:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise SpecError(f"--as-planned says what --{_FLAGS.get(name, name)} says.", hint="Leave out one of them.")
    found = planned_release(version, house, alias=alias)
    if found is None:
        raise SpecError(
            f"{version} was registered without a plan for its release.",
            hint='Deploy with one (--scenario, --need), or say it here: --canary "1%,10%,50%".',
        )
    lines = [f"as planned: {found.options or 'at once'}", *_reasons(found)]
    if found.is_at_once:
        return typed_request(version, alias, options), lines
    request, step_time_s = found.request, options["step_time_s"]
    request = replace(
        request,
        min_step_s=request.min_step_s if step_time_s is None else step_time_s,
        sticky=options["sticky"] or "",
        segments=tuple(parse_segment(text) for text in options["segments"]),
        is_held=request.is_held or options["is_held"],
        allow_interface_change=options["allow_interface_change"],
    )
    return request, lines


def _reasons(found: PlannedRelease) -> list[str]:
    width = max((len(value.option) for value in found.values), default=0)
    lines = [f"  {value.option:<{width}}  {value.because} ({value.origin})" for value in found.values]
    return [*lines, *(f"  note: {note}" for note in found.notes)]


def planned_hint(version: str, alias: str, house: House) -> str:
    """Return what to say to somebody who promotes at once what was planned to go by steps; "" where that is no matter."""
    try:
        found = planned_release(version, house, alias=alias)
    except FairleadError:
        return ""  # the promotion says what is wrong
    return f"  planned was  fairlead promote {version} --as-planned  ({found.options})" if found is not None and found.options else ""
