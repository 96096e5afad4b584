"""`fairlead watch`: one model live."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fairlead.cli import terminal
from fairlead.cli.printing import Duration, emit_json, home_option, json_option
from fairlead.errors import StorageError

if TYPE_CHECKING:
    from fairlead.app.watching import Watch

_QUIT = frozenset("qQ\x1b\x03\x04")
_PIPE_WIDTH = 160
_EVERYTHING = 10_000  # lines, where nobody scrolls
_RESIZE_S = 0.25


@click.command()
@click.argument("model")
@click.option("--since", "since_s", type=Duration(), default="24h", show_default=True, help="How far to look back for quality and drift.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look once, print, and end.")
@home_option
@json_option
def watch(model: str, *, since_s: float, interval: float, once: bool, home: str | None, as_json: bool) -> None:
    """Show MODEL live: traffic, latency, quality, drift, promises, alerts. Ends with q or Ctrl-C.

    Traffic comes from the servers that serve it, as they say in the registry; quality and drift from the observation log, looked at again
    every 30 seconds.

    \b
    Examples:
      fairlead watch digits
      fairlead watch digits --once --json
    """
    from fairlead.app.watching import Watch  # noqa: PLC0415 - --help needs none of it
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - likewise

    with Watch(model, build_house(home), since_s=since_s) as watching:
        if once:
            _print(watching, min(interval, 1.0), is_once=True, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):  # that is how it is meant to end
            if as_json or not terminal.is_screen():
                _print(watching, interval, is_once=False, as_json=as_json)
            else:
                _show(watching, interval)


def _print(watching: Watch, interval: float, *, is_once: bool, as_json: bool) -> None:
    watching.look()
    watching.wait()
    while True:
        time.sleep(interval)  # rates need two looks
        found = watching.look()
        if as_json:
            emit_json(asdict(found))
        else:
            from fairlead.cli.watch_screen import screen  # noqa: PLC0415 - as above

            width = terminal.screen_size()[0] if terminal.is_screen() else _PIPE_WIDTH
            click.echo("\n".join(screen(found, width=width, height=_EVERYTHING)))
        if is_once:
            return


def _show(watching: Watch, interval: float) -> None:
    """Draw one look after the other until a key says that it is enough; a registry that is away may come back."""
    from fairlead.cli.watch_screen import screen  # noqa: PLC0415 - as above

    pause = 0.2  # the first rates come soon
    with terminal.full_screen():
        while True:
            width, height = terminal.screen_size()
            try:
                lines = screen(watching.look(), width=width, height=height - 1)
            except StorageError as error:
                lines = [click.style(error.message[:width], fg="red"), f"Trying again every {interval:g} s."[:width]]
            terminal.draw([*lines, *[""] * (height - 1 - len(lines)), click.style("q: leave"[:width], dim=True)])
            if _QUIT & set(_wait(pause, (width, height))):
                return
            pause = interval


def _wait(seconds: float, size: tuple[int, int]) -> str:
    """Return the key that was pressed within that time, "" for none; at once where the screen has another size."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        keys = terminal.wait_for_key(min(left_s, _RESIZE_S))
        if keys or terminal.screen_size() != size:
            return keys
    return ""
