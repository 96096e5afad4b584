"""`fairlead watch`: one model live."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fairlead.cli import terminal
from fairlead.cli.printing import Duration, emit_json, home_option, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairlead.app.watching import Watched

_QUIT = frozenset("qQ\x1b\x03\x04")
_PIPE_WIDTH = 160
_EVERYTHING = 10_000  # lines, where nobody scrolls


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
        if once or as_json or not terminal.is_screen():
            _print(watching.look, min(interval, 1.0), is_once=once, as_json=as_json)
            return
        _show(watching.look, interval)


def _print(look: Callable[[], Watched], interval: float, *, is_once: bool, as_json: bool) -> None:
    look()
    while True:
        time.sleep(interval)  # rates need two looks
        found = look()
        if as_json:
            emit_json(asdict(found))
        else:
            from fairlead.cli.watch_screen import screen  # noqa: PLC0415 - as above

            width = terminal.screen_size()[0] if terminal.is_screen() else _PIPE_WIDTH
            click.echo("\n".join(screen(found, width=width, height=_EVERYTHING)))
        if is_once:
            return


def _show(look: Callable[[], Watched], interval: float) -> None:
    from fairlead.cli.watch_screen import screen  # noqa: PLC0415 - as above

    pause = 0.2  # the first rates come soon
    with terminal.full_screen():
        while True:
            width, height = terminal.screen_size()
            lines = screen(look(), width=width, height=height - 1)
            terminal.draw([*lines, *[""] * (height - 1 - len(lines)), click.style("q: leave"[:width], dim=True)])
            if _QUIT & set(terminal.wait_for_key(pause)):
                return
            pause = interval
