"""A terminal as a screen: the other buffer, no cursor, single keys; everything as it was afterwards.

Takes lines; gives keys. Where input is not a terminal there are no keys, only time passes.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

_ENTER = "\x1b[?1049h\x1b[?25l"  # xterm: the other buffer; no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def is_screen() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def full_screen() -> Iterator[None]:
    """Draw on the other buffer while the context lasts."""
    has_keys = sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin) if has_keys else None
    terminated = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    _write(_ENTER)
    try:
        if has_keys:
            tty.setcbreak(sys.stdin)
        yield
    finally:
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, terminated)
        _write(_LEAVE)


def draw(lines: Sequence[str]) -> None:
    """Replace what the screen shows."""
    body = f"{_END_OF_LINE}\n".join(map(click.unstyle, lines) if os.environ.get("NO_COLOR") else lines)
    _write(f"{_HOME}{body}{_END_OF_LINE}{_END_OF_SCREEN}")


def _write(text: str) -> None:
    """Write at once, as it is: what leaves out colours would leave out where to draw, too."""
    sys.stdout.write(text)
    sys.stdout.flush()


def screen_size() -> tuple[int, int]:
    """Return width and height."""
    size = shutil.get_terminal_size()
    return size.columns, size.lines


def wait_for_key(seconds: float) -> str:
    """Return the key that was pressed within that time, or ""; "q" at the end of input."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return ""
    return os.read(sys.stdin.fileno(), 64).decode("latin-1") or "q"
