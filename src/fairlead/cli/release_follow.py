"""Watch a release until it has ended: a line that is kept up to date on a terminal, a line for each thing that happens in a log."""

from __future__ import annotations

import shutil
import sys
import time

import click

from fairlead.app.release_view import ReleaseView, Told, watch
from fairlead.app.servers import WAIT_S
from fairlead.app.wiring import House
from fairlead.cli.printing import emit_json, mark
from fairlead.cli.release_text import finding_rows, followed_lines, headline, progress_line, span_text
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus
from fairlead.errors import RejectedError

_LOG_EVERY_S = 10.0  # and only what is new


def follow_release(name: str, house: House, *, as_json: bool, wait_s: float = WAIT_S) -> None:
    """Print how the model's release goes on, until it has ended and living servers have followed, or `wait_s` is over after its end.

    Raises RejectedError where it was rolled back, KeyboardInterrupt that says what goes on without the command.
    """
    voice = None if as_json else _Voice()
    last: ReleaseView | None = None
    try:
        for last in watch(name, house, wait_s=wait_s):
            if voice is not None:
                voice.tell(last)
    except KeyboardInterrupt:
        if last is not None and not last.release.is_active:
            said = f"{last.release.log[-1].sentence} Servers follow that by themselves. See: fairlead history {name}."
        else:
            see = f"See it: fairlead release {name}. End it: fairlead release {name} stop."
            said = f"The release of {name} goes on without this command. {see}"
        raise KeyboardInterrupt(said) from None
    if last is not None:
        _end(last, as_json=as_json)


class _Voice:
    """Tells each event once, and the present state: on a terminal all the time, in a log where it is new, every few seconds."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._shown = 0
        self._told, self._told_at = "", -_LOG_EVERY_S

    def tell(self, view: ReleaseView) -> None:
        """Print what is new."""
        release = view.release
        if not self._shown:
            click.echo(headline(release), err=True)
        for event in release.log[self._shown :]:
            click.echo(f"{self._cleared}  {_sign(event.status)} {event.sentence}", err=True)
        self._shown = len(release.log)
        line = progress_line(view)
        is_due = self._is_live or (line != self._told and time.monotonic() - self._told_at >= _LOG_EVERY_S)
        if release.is_active and line and is_due:
            label = release.steps[release.step].text if release.steps else "arms"
            said = f"  {label:<10} {span_text(view.step_age_s):>6}  {line}"
            width = shutil.get_terminal_size().columns - 1 if self._is_live else None
            click.echo(f"{self._cleared}{said[:width]}", err=True, nl=not self._is_live)
            self._told, self._told_at = line, time.monotonic()

    @property
    def _cleared(self) -> str:
        return "\r\x1b[K" if self._is_live else ""


def _end(view: ReleaseView, *, as_json: bool) -> None:
    release = view.release
    if as_json:
        emit_json(Told(release, view.followed))
    else:
        for line in finding_rows(release.log[-1].basis.findings):
            click.echo(f"    {line}")
        click.echo(f"{release.name}@{release.alias} is {release.name}:{release.candidate if _is_promoted(release) else release.live}")
        if view.followed is not None and view.followed.servers:
            click.echo("\n".join(followed_lines(view.followed)))
    if release.status is ReleaseStatus.ROLLED_BACK:
        why = release.log[-1].sentence.removeprefix("Roll back: ")
        raise RejectedError(
            f"The {release.kind} of {release.name}:{release.candidate} was rolled back: {why}",
            hint=f"See: fairlead history {release.name}.",
        )


def _is_promoted(release: Release) -> bool:
    return release.status is ReleaseStatus.PROMOTED and release.kind is not ReleaseKind.SHADOW


def _sign(status: ReleaseStatus) -> str:
    if status in {ReleaseStatus.PROMOTED, ReleaseStatus.FINISHED}:
        return mark(is_good=True)
    return mark(is_good=False) if status in {ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED} else "·"
