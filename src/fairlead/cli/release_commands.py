"""`fairlead promote`, `rollback`, `release`, `experiment`, `history`, `apply`: versions into production and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fairlead.app import release as use
from fairlead.app import release_view
from fairlead.app.release_apply import Difference, apply, difference
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.release_spec import gate_of, read_release
from fairlead.app.wiring import House, build_house
from fairlead.cli.printing import Duration, emit_json, home_option, json_option
from fairlead.cli.release_follow import follow_release
from fairlead.cli.release_options import planned_hint, planned_request, split_options, typed_request, wait_option
from fairlead.cli.release_text import describe, followed_lines, headline, history_lines, outcome_lines
from fairlead.core.release import ReleaseKind
from fairlead.core.release_text import parse_arms, parse_segment
from fairlead.core.version import PRODUCTION, parse_reference
from fairlead.errors import SpecError


@click.command()
@click.argument("version")
@click.option("--to", "alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@click.option("--canary", metavar="SHARES", help="Take over by growing shares, e.g. '1%,10%,50%', while the gate holds.")
@click.option("--shadow", metavar="SHARE", help="Answer that share unseen, too, and compare; before the canary, if there is one.")
@click.option("--for", "shadow_time_s", type=Duration(), help="How long a shadow alone runs.  [default: 1h]")
@click.option("--step-time", "step_time_s", type=Duration(), help="How long each step lasts at least.  [default: 5m]")
@split_options
@click.option("--twin", metavar="SHARE", help="Let the version's uncompressed original answer that share, too.")
@click.option("--as-planned", is_flag=True, help="As the version's own plan says: its steps, gate and twin share, each with its reason.")
@click.option("--hold", "is_held", is_flag=True, help="Go on only when told (fairlead release NAME advance).")
@click.option("--allow-interface-change", is_flag=True, help="Clients know that names, shapes or labels change.")
@wait_option
@click.option("--detach", is_flag=True, help="Begin, and do not watch.")
@home_option
@json_option
def promote(
    version: str, home: str | None, *, alias: str, wait_s: float, as_planned: bool, detach: bool, as_json: bool, **options: Any
) -> None:
    """Take a version into production: at once, by a canary, or unseen beside the live one.

    \b
    Examples:
      fairlead promote digits:4
      fairlead promote digits:4 --canary "1%,10%,50%" --gate "error_rate, p99_ms, disagreement, accuracy"
      fairlead promote digits:4 --shadow 20% --for 1h --gate "disagreement<=0.02"
      fairlead promote digits:4 --as-planned

    At once: every running server loads and warms the version and has it answer its golden requests; then the alias moves, or it does not.
    """
    house = build_house(home)
    request, lines = planned_request(version, alias, options, house) if as_planned else (typed_request(version, alias, options), [])
    if lines and not as_json:
        click.echo("\n".join(lines), err=True)
    if request is not None:
        _begin(request, house, wait_s=None if detach else wait_s, as_json=as_json)
        return
    hint = "" if as_planned or as_json else planned_hint(version, alias, house)
    change = options["allow_interface_change"]
    _say(
        use.promote(version, house, alias=alias, wait_s=wait_s, allow_interface_change=change, tell=_teller(as_json=as_json)),
        as_json=as_json,
    )
    if hint:
        click.echo(hint, err=True)


@click.command()
@click.argument("name")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@click.option("--to", metavar="VERSION", help="Which version to go back to, e.g. 3; even one that a gate rejected.")
@click.option("--further", "is_further", is_flag=True, help="Go back even where a release was rolled back a moment ago.")
@wait_option
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
@click.argument("word", metavar="[WORD]", required=False, type=click.Choice(release_view.WORDS))
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Watch until it has ended.")
@wait_option
@home_option
@json_option
def release(name: str, word: str | None, home: str | None, *, is_followed: bool, wait_s: float, as_json: bool) -> None:
    """Say how a model's release stands, or tell it to hold, resume, stop or advance.

    Where that ends it, the command returns when every running server has followed.
    """
    house = build_house(home)
    if word is not None:
        told = release_view.say(name, word, house, wait_s=0.0 if is_followed else wait_s)
        if not is_followed:
            _show(told, as_json=as_json)
            return
    if is_followed:
        follow_release(name, house, as_json=as_json, wait_s=wait_s)
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
@wait_option
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
    wait_s: float,
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
        _show(release_view.Told(begin(request, house).release), as_json=as_json)
        return
    release_view.require_experiment(name, house)
    if choose is not None or stop:
        if choose is not None:
            _show(release_view.choose(name, choose, house, wait_s=wait_s), as_json=as_json)
        else:
            _show(release_view.say(name, "stop", house, wait_s=wait_s), as_json=as_json)
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
@wait_option
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
    found = difference(request, house, is_forced=again)
    if not as_json:
        click.echo(_difference_text(found, is_forced=again))
    if dry_run or not found.to_do:
        if as_json:
            emit_json(found)
        return
    done = apply(request, house, is_forced=again, wait_s=wait_s, tell=_teller(as_json=as_json))
    if done.ended is not None and not as_json:
        followed = followed_lines(done.ended) if done.outcome is None else []  # a promotion says it for both
        click.echo("\n".join([found.to_do[0].replace("end", "ended", 1), *followed]))
    if is_followed and done.begun is not None:
        follow_release(found.name, house, as_json=as_json, wait_s=wait_s)
    elif as_json:
        emit_json(done)
    elif done.outcome is not None:
        _say(done.outcome, as_json=False)
    elif done.begun is not None:
        click.echo(headline(done.begun.release))


def _number(name: str, text: str) -> int:
    found = parse_reference(text if ":" in text else f"{name}:{text}")
    if found.name != name or found.number is None:
        raise SpecError(f"'{text[:64]}' is no version of {name}.", hint=f"Write it like --to 3 or --to {name}:3.")
    return found.number


def _begin(request: ReleaseRequest, house: House, *, wait_s: float | None, as_json: bool) -> None:
    """Begin, and watch; `wait_s` None: without watching."""
    begun = begin(request, house).release
    if wait_s is None:
        _show(release_view.Told(begun), as_json=as_json)
        return
    follow_release(begun.name, house, as_json=as_json, wait_s=wait_s)


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


def _show(told: release_view.Told, *, as_json: bool) -> None:
    if as_json:
        emit_json(told)
        return
    click.echo(headline(told.release))
    click.echo(f"  {told.release.log[-1].sentence}")
    if told.followed is not None:
        click.echo("\n".join(followed_lines(told.followed)))


def _difference_text(found: Difference, *, is_forced: bool) -> str:
    to_do = "; ".join(found.to_do) or "nothing: it is so already"
    but = f"\n  but     {found.why_not} It is done only with --again." if found.why_not and not is_forced else ""
    return f"{found.name}@{found.alias}\n  is      {found.is_now}\n  wanted  {found.wanted}\n  to do   {to_do}{but}"
