"""Serve what the registry's aliases point at, until told to stop.

Takes a ServeJob; returns when the server has stopped after SIGTERM, SIGQUIT or SIGINT (Ctrl-C), everything in flight answered. Raises
PortInUseError and EnvironmentalError before anything is served. A second Ctrl-C does not wait for what is in flight.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import sys
import threading
from functools import partial

import uvloop

from fairlead.serve.resident_memory import map_large_blocks
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import Server

_NEW_OBJECTS = 20_000
_THREADS = ("fairlead-engine", "fairlead-load")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def serve(job: ServeJob) -> None:
    """Serve until a signal asks to stop; call it from the main thread."""
    map_large_blocks()
    _collect_seldom()
    leave = _Leave()
    atexit.register(leave)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(job))
    leave.status = 0


class _Leave:
    """Ends the process at its end where a call or a load still runs in a thread, whose time is over: the interpreter would end that thread
    within the library, which ONNX Runtime answers by aborting the process.
    """

    def __init__(self) -> None:
        self.status = 1

    def __call__(self) -> None:
        if any(thread.name.startswith(_THREADS) for thread in threading.enumerate()):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.status)


def _collect_seldom() -> None:
    """Let the collector of cycles look at what is new only, and less often: a request makes dozens of objects and no cycle, and a look
    at all modules takes longer than a hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 50)


async def _serve(job: ServeJob) -> None:
    loop = asyncio.get_running_loop()
    asked, hurry = asyncio.Event(), asyncio.Event()

    def take(number: signal.Signals) -> None:
        if asked.is_set() and number == signal.SIGINT:
            hurry.set()
        asked.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, partial(take, number))
    server = Server(job)
    starting = loop.create_task(server.start())
    stopping = loop.create_task(asked.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        try:
            await starting
        except BaseException:
            stopping.cancel()
            await server.stop()
            raise
    else:
        starting.cancel()
    await stopping
    await server.stop(hurry)
