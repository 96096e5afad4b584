"""`fairlead promote`, `rollback`, `release`, `experiment`, `history`, `apply`: versions into production and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fairlead.app import release as use
from fairlead.app import release_view
from fairlead.app.release_apply import Difference, apply, difference
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.release_spec import STEP_TIME_S, gate_of, read_release
from fairlead.app.wiring import House, build_house
from fairlead.cli.printing import Duration, emit_json, home_option, json_option
from fairlead.cli.release_follow import follow_release
from fairlead.cli.release_text import describe, headline, history_lines, outcome_lines
from fairlead.core.gate import ALPHA, MIN_REQUESTS
from fairlead.core.release import Release, ReleaseKind, ReleaseStep
from fairlead.core.release_text import parse_arms, parse_segment, parse_share, parse_steps
from fairlead.core.version import PRODUCTION, parse_reference
from fairlead.errors import SpecError

F = TypeVar("F", bound=Callable[..., Any])
_SHADOW_TIME_S = 3600.0


def split_options(function: F) -> F:
    """Add the options that a canary and an experiment share."""
    for option in (
        click.option("--segment", "segments", multiple=True, metavar="HEADER=VALUE", help="They go to the candidate; or =VALUE:ARM."),
        click.option("--sticky", metavar="NAME", help="Draw by this parameter or header, e.g. user_id, instead of by request."),
        click.option("--min-requests", type=click.IntRange(1), default=MIN_REQUESTS, show_default=True, help="What a metric has to see."),
        click.option("--alpha", type=float, default=ALPHA, show_default=True, help="False roll-backs per release, at most."),
        click.option("--gate", metavar="METRICS", help="What must not get worse, e.g. 'error_rate, p99_ms<=20, accuracy'."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("version")
@click.option("--to", "alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@click.option("--canary", metavar="SHARES", help="Take over by growing shares, e.g. '1%,10%,50%', while the gate holds.")
@click.option("--shadow", metavar="SHARE", help="Answer that share unseen, too, and compare; before the canary, if there is one.")
@click.option("--for", "shadow_time_s", type=Duration(), help="How long a shadow alone runs.  [default: 1h]")
@click.option("--step-time", "step_time_s", type=Duration(), help="How long each step lasts at least.  [default: 5m]")
@split_options
@click.option("--twin", metavar="SHARE", help="Let the version's uncompressed original answer that share, too.")
@click.option("--hold", "is_held", is_flag=True, help="Go on only when told (fairlead release NAME advance).")
@click.option("--allow-interface-change", is_flag=True, help="Clients know that names, shapes or labels change.")
@click.option("--wait", "wait_s", type=Duration(), default=use.WAIT_S, help="How long to wait for servers.  [default: 60s]")
@click.option("--detach", is_flag=True, help="Begin, and do not watch.")
@home_option
@json_option
def promote(version: str, home: str | None, *, alias: str, wait_s: float, detach: bool, as_json: bool, **options: Any) -> None:
    """Take a version into production: at once, by a canary, or unseen beside the live one.

    \b
    Examples:
      fairlead promote digits:4
      fairlead promote digits:4 --canary "1%,10%,50%" --gate "error_rate, p99_ms, disagreement, accuracy"
      fairlead promote digits:4 --shadow 20% --for 1h --gate "disagreement<=0.02"

    At once: every running server loads and warms the version and has it answer its golden requests; then the alias moves, or it does not.
    """
    house = build_house(home)
    request = _request(version, alias, options)
    if request is None:
        change = options["allow_interface_change"]
        outcome = use.promote(version, house, alias=alias, wait_s=wait_s, allow_interface_change=change, tell=_teller(as_json=as_json))
        _say(outcome, as_json=as_json)
        return
    _begin(request, house, detach=detach, as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@click.option("--to", metavar="VERSION", help="Which version to go back to, e.g. 3; even one that a gate rejected.")
@click.option("--further", "is_further", is_flag=True, help="Go back even where a release was rolled back a moment ago.")
@click.option("--wait", "wait_s", type=Duration(), default=use.WAIT_S, help="How long to wait for servers.  [default: 60s]")
@home_option
@json_option
def rollback(name: str, home: str | None, *, alias: str, to: str | None, is_further: bool, wait_s: float, as_json: bool) -> None:
    """End the canary that runs; where none does, take @production back to the version before.

    Returns when every running server has followed: from then on no new request meets what was taken back. Where the gate has just taken a
    canary back, nothing moves: that was the rollback. A version that a gate rejected is never gone back to, unless --to says so.
    """
    number = None if to is None else _number(name, to)
    _say(use.rollback(name, build_house(home), alias=alias, wait_s=wait_s, to=number, is_further=is_further), as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("word", required=False, type=click.Choice(release_view.WORDS))
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Watch until it has ended.")
@home_option
@json_option
def release(name: str, word: str | None, home: str | None, *, is_followed: bool, as_json: bool) -> None:
    """Say how a model's release stands, or tell it to hold, resume, stop or advance."""
    house = build_house(home)
    if word is not None:
        told = release_view.say(name, word, house)
        if not is_followed:
            _show(told, as_json=as_json)
            return
    if is_followed:
        follow_release(name, house, as_json=as_json)
        return
    view = release_view.view(name, house)
    emit_json(view) if as_json else click.echo(describe(view))


@click.command()
@click.argument("name")
@click.argument("more", nargs=-1, metavar="[ARM]...")
@click.option("--split", multiple=True, metavar="ARM", help="An arm, NAME=VERSION:WEIGHT: --split A=3:50 B=4:50.")
@click.option("--choose", metavar="ARM", help="End it: this arm becomes the live version.")
@click.option("--stop", is_flag=True, help="End it: everything goes to the live version.")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias whose requests are split.")
@split_options
@click.option("--allow-interface-change", is_flag=True, help="Clients know that names, shapes or labels change.")
@home_option
@json_option
def experiment(
    name: str,
    more: tuple[str, ...],
    home: str | None,
    *,
    split: tuple[str, ...],
    choose: str | None,
    stop: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare versions on fixed shares of the requests, until somebody chooses.

    \b
    Examples:
      fairlead experiment digits --split A=3:50 B=4:50 --sticky user_id
      fairlead experiment digits
      fairlead experiment digits --choose B
    """
    house = build_house(home)
    arms = (*split, *more)
    if sum((bool(arms), choose is not None, stop)) > 1:
        raise SpecError("One thing at a time: --split, --choose or --stop.")
    if arms:
        kind = ReleaseKind.EXPERIMENT
        gate = gate_of(options["gate"], kind, alpha=options["alpha"], min_requests=options["min_requests"])
        parsed = parse_arms(arms)
        request = ReleaseRequest(
            kind,
            name,
            options["alias"],
            arms=parsed,
            gate=gate,
            sticky=options["sticky"] or "",
            segments=tuple(parse_segment(text, arm=parsed[-1].name) for text in options["segments"]),
            allow_interface_change=options["allow_interface_change"],
        )
        _show(begin(request, house).release, as_json=as_json)
        return
    release_view.require_experiment(name, house)
    if choose is not None or stop:
        _show(release_view.choose(name, choose, house) if choose is not None else release_view.say(name, "stop", house), as_json=as_json)
        return
    view = release_view.view(name, house)
    emit_json(view) if as_json else click.echo(describe(view))


@click.command()
@click.argument("name")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias whose history is shown.")
@home_option
@json_option
def history(name: str, alias: str, home: str | None, *, as_json: bool) -> None:
    """Say where @production pointed when, and what releases decided on which numbers; oldest first."""
    entries = release_view.history(name, build_house(home), alias=alias)
    if as_json:
        emit_json(entries)
        return
    click.echo("\n".join(history_lines(entries, name)) or f"@{alias} of {name} was never set.")


@click.command(name="apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what differs.")
@click.option("--again", is_flag=True, help="Do what a gate or a person took back once more.")
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Watch the release until it has ended.")
@click.option("--wait", "wait_s", type=Duration(), default=use.WAIT_S, help="How long to wait for servers.  [default: 60s]")
@home_option
@json_option
def apply_file(file: Path, home: str | None, *, dry_run: bool, again: bool, is_followed: bool, wait_s: float, as_json: bool) -> None:
    """Bring a model to what a release.yaml says; nothing is done where it is so already.

    \b
    Example of a release.yaml:
      model: digits
      version: 4
      canary: {steps: [1%, 10%, 50%], step_time: 10m}
      gate: error_rate, p99_ms<=20
    """
    request, house = read_release(file).request(), build_house(home)
    found = difference(request, house)
    if not as_json:
        click.echo(_difference_text(found))
    if dry_run or not found.to_do:
        if as_json:
            emit_json(found)
        return
    done = apply(request, house, is_forced=again, wait_s=wait_s, tell=_teller(as_json=as_json))
    if is_followed and done.begun is not None:
        follow_release(found.name, house, as_json=as_json)
    elif as_json:
        emit_json(done)
    elif done.outcome is not None:
        _say(done.outcome, as_json=False)
    elif done.begun is not None:
        click.echo(headline(done.begun.release))


def _request(version: str, alias: str, options: dict[str, Any]) -> ReleaseRequest | None:
    """Return what the options ask for beside a promotion at once; None where they ask for nothing else."""
    canary, shadow = options["canary"], options["shadow"]
    if canary is None and shadow is None:
        for name in ("shadow_time_s", "step_time_s", "gate", "sticky", "segments", "twin", "is_held"):
            if options[name]:
                flag = {"shadow_time_s": "for", "step_time_s": "step-time", "segments": "segment", "is_held": "hold"}.get(name, name)
                raise SpecError(f"--{flag} needs a canary or a shadow.", hint='Add --canary "1%,10%,50%" or --shadow 20%.')
        return None
    kind = ReleaseKind.CANARY if canary is not None else ReleaseKind.SHADOW
    if options["shadow_time_s"] is not None and kind is ReleaseKind.CANARY:
        raise SpecError("--for is the time of a shadow alone.", hint="With --canary, each step lasts --step-time.")
    shadow_step = (ReleaseStep(0.0, _positive(shadow)),) if shadow is not None else ()
    default_s = STEP_TIME_S if kind is ReleaseKind.CANARY else _SHADOW_TIME_S
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


def _number(name: str, text: str) -> int:
    found = parse_reference(text if ":" in text else f"{name}:{text}")
    if found.name != name or found.number is None:
        raise SpecError(f"'{text[:64]}' is no version of {name}.", hint=f"Write it like --to 3 or --to {name}:3.")
    return found.number


def _positive(text: str) -> float:
    share = parse_share(text)
    if not share:
        raise SpecError("A shadow of nothing compares nothing.", hint="Write it like --shadow 20%.")
    return share


def _begin(request: ReleaseRequest, house: House, *, detach: bool, as_json: bool) -> None:
    begun = begin(request, house).release
    if detach:
        _show(begun, as_json=as_json)
        return
    follow_release(begun.name, house, as_json=as_json)


def _teller(*, as_json: bool) -> Callable[[str], None]:
    def tell(sentence: str) -> None:
        if sentence and not as_json:
            click.echo(f"  waiting for  {sentence}", err=True)

    return tell


def _say(outcome: use.Outcome, *, as_json: bool) -> None:
    if as_json:
        emit_json(outcome)
        return
    click.echo("\n".join(outcome_lines(outcome)))


def _show(told: Release, *, as_json: bool) -> None:
    if as_json:
        emit_json(told)
        return
    click.echo(headline(told))
    click.echo(f"  {told.log[-1].sentence}")


def _difference_text(found: Difference) -> str:
    to_do = "; ".join(found.to_do) or "nothing: it is so already"
    return f"{found.name}@{found.alias}\n  is      {found.is_now}\n  wanted  {found.wanted}\n  to do   {to_do}"
