"""The Executor of an engine that lives in this process: in the event loop for calls that are over at once, else in threads.

Takes a loaded engine, which it closes; raises what the engine raises. Measured (docs/decisions/0002-data-plane.md): handing a call to a
thread and back costs more than a small model takes to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.serve.threads import ThreadPool


class EngineExecutor:
    """Up to `thread_count` calls at once, in threads that start when they are first needed."""

    def __init__(self, engine: Engine, thread_count: int, *, is_blocking: bool = False) -> None:
        self._engine = engine
        self._pool = ThreadPool(thread_count, "fairlead-engine")
        self.slot_count = thread_count
        self.is_blocking = is_blocking
        self._running_count = 0
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the version takes and gives."""
        return self._engine.interface

    @property
    def description(self) -> str:
        """What runs it, with version."""
        return self._engine.description

    @property
    def memory_bytes(self) -> int:
        """Nothing outside this process."""
        return 0

    def run_now(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs, computed here."""
        return self._engine.run(inputs, outputs)

    async def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs, computed in a thread."""
        self._running_count += 1
        try:
            return await self._pool.call(partial(self._engine.run, inputs, outputs))
        finally:
            self._running_count -= 1
            if self._is_closed and not self._running_count:
                self._engine.close()

    def close(self) -> None:
        """Let the engine go, at once or after the calls that it is in: some may run on for nobody, whose time was over."""
        self._is_closed = True
        self._pool.close()
        if not self._running_count:
            self._engine.close()
