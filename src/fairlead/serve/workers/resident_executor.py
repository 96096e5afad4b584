"""Runs an engine whose model lives in a sandboxed process of its own: one call at a time, in a thread, never waiting in the event loop.

Takes a ResidentEngine, which it closes; raises what it raises. The process is started again as soon as it is seen to be dead, ahead of
the next request; while there is none, `slot_count` is 0. A request whose deadline passes is answered by the scheduler; the process goes on
until its own limit, since no client's haste may cost the next one a start.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.engines.resident_engine import ResidentEngine
from fairlead.errors import UnavailableError
from fairlead.serve.resident_memory import share_bytes
from fairlead.serve.threads import ThreadPool

_LOOK_S = 0.5


class ResidentExecutor:
    """See serve.executor.Executor. It watches the process from the first call of `run` or `watch` on."""

    is_blocking = True

    def __init__(self, engine: ResidentEngine) -> None:
        self._engine = engine
        self._pool = ThreadPool(1, "fairlead-resident-call")
        self._timer: asyncio.TimerHandle | None = None
        self._revival: asyncio.Task[None] | None = None
        self._is_closed = self._is_down = False
        self._retry_at = 0.0

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._engine.interface

    @property
    def description(self) -> str:
        """What runs it, with version."""
        return self._engine.description

    @property
    def slot_count(self) -> int:
        """1 while the process lives; requests to it take turns."""
        return 0 if self._is_down or self._is_closed else 1

    @property
    def memory_bytes(self) -> int:
        """What that process takes. Reads a file: for once in a while."""
        return share_bytes(self._engine.pid) if self._engine.pid else 0

    def run_now(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:  # noqa: ARG002 - as the protocol says
        """Refuse: nothing runs in this process."""
        raise UnavailableError("This version runs in another process, and cannot answer at once.")

    async def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs (all where none are named)."""
        if self._is_closed:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        self.watch()
        try:
            return await self._pool.call(partial(self._engine.run, inputs, outputs))
        finally:
            self._look()

    def watch(self) -> None:
        """Begin to look after the process; in the event loop. Idempotent."""
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def close(self) -> None:
        """End the process, in a thread: that takes longer than the event loop may be held. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pool.close()
        threading.Thread(target=self._engine.close, name="fairlead-resident-end", daemon=True).start()

    def _look_again(self) -> None:
        self._timer = None
        self._look()
        self.watch()

    def _look(self) -> None:
        """Start the process again where it is dead."""
        loop = asyncio.get_running_loop()
        if self._is_closed or self._revival is not None or loop.time() < self._retry_at or self._engine.pid:
            return
        self._is_down = True
        self._revival = loop.create_task(self._revive())

    async def _revive(self) -> None:
        """Ask the engine for a process; it says how long to wait where the last ones died too soon."""
        try:
            wait_s = await self._pool.call(self._engine.revive)
            self._is_down = wait_s > 0
            self._retry_at = asyncio.get_running_loop().time() + wait_s
        finally:
            self._revival = None
