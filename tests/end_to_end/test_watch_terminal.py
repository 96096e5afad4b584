"""`fairlead watch` on a real terminal: sizes, another size while it runs, Ctrl-C, no server, no traffic, no colours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from observed import add_proven
from registered import classifier, new_house

PROGRAM = "import sys; from fairlead.cli.main import main; main(sys.argv[1:])"
DRAWN, LEFT = "\x1b[H", "\x1b[?1049l"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ANY = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]")


class Terminal:
    """One end of a terminal of a given size, and everything that came out of it."""

    def __init__(self, width: int, height: int) -> None:
        self.mine, self.its = pty.openpty()
        self.text = ""
        self.resize(width, height)
        self.before = termios.tcgetattr(self.its)

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_for(self, pattern: str) -> None:
        until = time.monotonic() + 60
        while not re.search(pattern, self.text):
            assert time.monotonic() < until, f"not seen: {pattern} in {self.text[-500:]!r}"
            if select.select([self.mine], [], [], 0.1)[0]:
                self.text += os.read(self.mine, 65536).decode("utf-8", "replace")

    def screen(self) -> list[str]:
        """The lines of the last whole picture, without what draws and colours them."""
        picture = self.text.split(DRAWN)[-1].partition(LEFT)[0]
        return [ANY.sub("", line) for line in picture.split("\r\n")]

    def close(self) -> None:
        os.close(self.mine)
        os.close(self.its)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    house = new_house(tmp_path / "home")
    add_proven(house, "pets", classifier(tmp_path / "pets.onnx"), "accuracy>=0.9", "p99_ms<=10")
    return tmp_path / "home"


@contextlib.contextmanager
def watching(home: Path, terminal: Terminal, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    command = [sys.executable, "-c", PROGRAM, "watch", "pets", "--home", str(home), "--interval", "600"]
    streams = {"stdin": terminal.its, "stdout": terminal.its, "stderr": terminal.its}
    with subprocess.Popen(command, **streams, env={**kept, "TERM": "xterm", **environment}, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()
            terminal.close()


def test_a_small_terminal_that_grows_shows_more_and_is_left_as_it_was(home: Path) -> None:
    terminal = Terminal(80, 12)
    with watching(home, terminal) as process:
        terminal.wait_for(r"and \d+ more lines(?s:.*)q: leave")
        small = terminal.screen()
        assert len(small) == 12
        assert max(map(len, small)) <= 80
        assert "no server serves it" in "\n".join(small)
        assert "nobody has looked for any yet" in "\n".join(small)
        terminal.text = ""
        terminal.resize(120, 40)
        terminal.wait_for(r"Nothing was recorded in this time(?s:.*)q: leave")
        large = terminal.screen()
        assert len(large) == 40
        assert "accuracy>=0.9" in "\n".join(large)
        assert COLOUR.search(terminal.text)
        process.send_signal(signal.SIGINT)
        terminal.wait_for(re.escape(LEFT))
        assert process.wait(30) == 0
        assert termios.tcgetattr(terminal.its) == terminal.before


def test_without_colours_there_are_none_and_q_leaves(home: Path) -> None:
    terminal = Terminal(80, 24)
    with watching(home, terminal, NO_COLOR="1") as process:
        terminal.wait_for(r"pets:1(?s:.*)q: leave")
        os.write(terminal.mine, b"q")
        terminal.wait_for(re.escape(LEFT))
        assert process.wait(30) == 0
        assert not COLOUR.search(terminal.text)
        assert DRAWN in terminal.text
