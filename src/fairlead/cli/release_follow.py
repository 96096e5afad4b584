"""Watch a release until it has ended: a line that is kept up to date on a terminal, a line for each thing that happens in a log."""

from __future__ import annotations

import sys
import time

import click

from fairlead.app.release_view import watch
from fairlead.app.wiring import House
from fairlead.cli.printing import emit_json, mark
from fairlead.cli.release_text import finding_rows, headline, progress_line, span_text
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus
from fairlead.errors import RejectedError

_LOG_EVERY_S = 10.0  # and only what is new


def follow_release(name: str, house: House, *, as_json: bool) -> None:
    """Print how the model's release goes on; raises RejectedError where it was rolled back, KeyboardInterrupt that says that it goes on."""
    is_live = sys.stderr.isatty() and not as_json
    shown = 0
    told, told_at = "", -_LOG_EVERY_S
    last: Release | None = None
    try:
        for view in watch(name, house):
            release = last = view.release
            if not as_json:
                if not shown:
                    click.echo(headline(release), err=True)
                for event in release.log[shown:]:
                    click.echo(f"{_clear(is_live)}  {_sign(event.status)} {event.sentence}", err=True)
                line = progress_line(view)
                is_due = is_live or (line != told and time.monotonic() - told_at >= _LOG_EVERY_S)
                if release.is_active and line and is_due:
                    label = release.steps[release.step].text if release.steps else "arms"
                    said = f"  {label:<10} {span_text(view.step_age_s):>6}  {line}"
                    click.echo(f"{_clear(is_live)}{said[: _width()] if is_live else said}", err=True, nl=not is_live)
                    told, told_at = line, time.monotonic()
            shown = len(release.log)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"The release of {name} goes on without this command. See it: fairlead release {name}. End it: fairlead release {name} stop."
        ) from None
    if last is not None:
        _end(last, as_json=as_json)


def _end(release: Release, *, as_json: bool) -> None:
    if as_json:
        emit_json(release)
    else:
        for line in finding_rows(release.log[-1].basis.findings):
            click.echo(f"    {line}")
        click.echo(f"{release.name}@{release.alias} is {release.name}:{release.candidate if _is_promoted(release) else release.live}")
    if release.status is ReleaseStatus.ROLLED_BACK:
        why = release.log[-1].sentence.removeprefix("Roll back: ")
        raise RejectedError(
            f"The {release.kind} of {release.name}:{release.candidate} was rolled back: {why}",
            hint=f"See: fairlead history {release.name}.",
        )


def _is_promoted(release: Release) -> bool:
    return release.status is ReleaseStatus.PROMOTED and release.kind is not ReleaseKind.SHADOW


def _clear(is_live: bool) -> str:
    return "\r\x1b[K" if is_live else ""


def _width() -> int:
    import shutil  # noqa: PLC0415 - only needed here

    return shutil.get_terminal_size().columns - 1


def _sign(status: ReleaseStatus) -> str:
    if status in {ReleaseStatus.PROMOTED, ReleaseStatus.FINISHED}:
        return mark(is_good=True)
    return mark(is_good=False) if status in {ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED} else "·"
