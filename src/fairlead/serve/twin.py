"""The uncompressed original of a loaded version, opened beside it when it is first needed.

Takes a function that opens it; gives its answers, computed in a thread of its own. Raises what the engine raises, UnavailableError while
it is not open. It is never opened twice at once, and one that could not be opened is not tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Engine
from fairlead.errors import UnavailableError
from fairlead.serve.engine_executor import EngineExecutor


class Twin:
    """`size_bytes` is its file's; `memory_bytes` what it takes, 0 while it is not open."""

    def __init__(self, open_it: Callable[[], Engine], size_bytes: int) -> None:
        self.open_it = open_it
        self.size_bytes = size_bytes
        self.memory_bytes = 0
        self.is_opening = self.has_failed = self._is_closed = False
        self._executor: EngineExecutor | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._executor is not None

    def take(self, engine: Engine, memory_bytes: int) -> bool:
        """Run `engine` from now on, which was opened by `open_it`; returns False, the engine closed, where nobody wants it any more."""
        if self._is_closed:
            engine.close()
            return False
        self._executor, self.memory_bytes = EngineExecutor(engine, 1, is_blocking=True), memory_bytes
        return True

    async def run(self, inputs: Tensors, outputs: Sequence[str]) -> tuple[dict[str, Array], int]:
        """Return the outputs and the nanoseconds that they took."""
        executor = self._executor
        if executor is None:
            raise UnavailableError("The original is not in memory.")
        began = time.perf_counter_ns()
        found = await executor.run(inputs, outputs)
        return found, time.perf_counter_ns() - began

    def rest(self) -> int:
        """Give its memory back until it is needed again; returns how many bytes that were."""
        executor, self._executor = self._executor, None
        freed, self.memory_bytes = self.memory_bytes, 0
        if executor is not None:
            executor.close()
        return freed

    def close(self) -> None:
        """Give its memory back for good. Idempotent."""
        self._is_closed = True
        self.rest()
