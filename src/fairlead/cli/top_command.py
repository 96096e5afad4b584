"""`fairlead top`: watch a running server."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict

import click

from fairlead.app.top import Watching
from fairlead.app.wiring import settings_for
from fairlead.cli import terminal
from fairlead.cli.printing import json_option
from fairlead.cli.top_screen import screen
from fairlead.errors import UnavailableError

_PIPE_WIDTH = 160
_EVERYTHING = 10_000  # lines, where nobody scrolls
_QUIT = frozenset("qQ\x1b\x03\x04")


@click.command()
@click.argument("url", required=False)
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look for one interval, print, and end.")
@json_option
def top(url: str | None, *, interval: float, once: bool, as_json: bool) -> None:
    """Show what the server at URL does: rates, latencies, queues, batches, memory. Ends with q or Ctrl-C.

    Without a terminal it prints a table, or with --json an object, per interval. Percentiles are read from histogram buckets.

    \b
    Examples:
      fairlead top
      fairlead top http://models.example:8080
      fairlead top --once --json
    """
    settings = settings_for(None)
    address = url or f"http://{settings.host}:{settings.port}"
    with Watching(address) as watching, contextlib.suppress(KeyboardInterrupt):  # that is how it is meant to end
        if once or as_json or not terminal.is_screen():
            _print(watching, interval, is_once=once, as_json=as_json)
        else:
            _show(watching, interval)


def _print(watching: Watching, interval: float, *, is_once: bool, as_json: bool) -> None:
    """Print one look after the other; a server that is away is an error here."""
    watching.look()
    while True:
        time.sleep(interval)
        view = watching.look()
        if as_json:
            import json  # noqa: PLC0415 - only needed here

            click.echo(json.dumps({"url": watching.url, **asdict(view)}))
        else:
            width = terminal.screen_size()[0] if terminal.is_screen() else _PIPE_WIDTH
            click.echo("\n".join(screen(view, watching.url, width=width, height=_EVERYTHING)) + ("" if is_once else "\n"))
        if is_once:
            return


def _show(watching: Watching, interval: float) -> None:
    """Draw one look after the other until a key says that it is enough; a server that is away may come back."""
    pause = 0.2  # the first rates come soon
    with terminal.full_screen():
        while True:
            width, height = terminal.screen_size()
            try:
                lines = screen(watching.look(), watching.url, width=width, height=height - 1)
            except UnavailableError as error:
                lines = [click.style(error.message[:width], fg="red"), f"Trying again every {interval:g} s.  Leave with q."[:width]]
            terminal.draw([*lines, *[""] * (height - 1 - len(lines)), click.style("q: leave"[:width], dim=True)])
            if _QUIT & set(terminal.wait_for_key(pause)):
                return
            pause = interval
