"""Work that goes on until somebody says stop: at low priority, and awake at once when a signal comes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_NICENESS = 10


def be_humble() -> None:
    """Let everything else on the machine go first: whoever watches must not slow down what is watched."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)


@contextlib.contextmanager
def until_told() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits some seconds and says whether SIGINT or SIGTERM has come. What is being done then is finished; a second
    signal ends it.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
