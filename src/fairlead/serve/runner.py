"""Where a request meets an engine: in the event loop if it is over at once, else in a thread.

`Runner` is the seam for schedulers: one that batches, one that sends work to other processes. Takes inputs that fit; gives outputs with
the time spent waiting and computing. Raises what the engine raises. It never checks, admits or observes; the data plane does.

Measured (docs/decisions/0002-data-plane.md): handing a call to a thread and back costs more than a small model takes to run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import msgspec

from fairlead.core.interface import Array, Tensors
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.threads import ThreadPool

_SMOOTHING = 0.1  # weight of the newest call in the running mean; one slow call sends the next ones to threads, which costs little


class Run(msgspec.Struct, frozen=True):
    """The outputs by name, and milliseconds between asking and starting, and between starting and the end."""

    outputs: dict[str, Array]
    queue_ms: float
    compute_ms: float


class Runner(Protocol):
    """Runs requests on engines."""

    async def run(self, served: ServedVersion, inputs: Tensors, outputs: Sequence[str]) -> Run:
        """Return the named outputs (all where none are named)."""
        ...

    def close(self) -> None:
        """Give threads and processes back."""
        ...


class DirectRunner:
    """Each request by itself: inline if it is expected to take less than `inline_below_ms`, else in one of `thread_count` threads."""

    def __init__(self, thread_count: int, *, inline_below_ms: float = 1.0) -> None:
        self._pool = ThreadPool(thread_count, "fairlead-engine")
        self._inline_below_ms = inline_below_ms

    async def run(self, served: ServedVersion, inputs: Tensors, outputs: Sequence[str]) -> Run:
        """Return the named outputs; learns as it goes what an element takes: rows of free shape differ in size."""
        asked = time.perf_counter()
        call = partial(_timed, served, inputs, outputs)
        size = sum(tensor.size for tensor in inputs.values())
        is_inline = not served.may_block and served.element_ms * size < self._inline_below_ms
        answer, began, ended = call() if is_inline else await self._pool.call(call)
        compute_ms = (ended - began) * 1e3
        newest_ms = compute_ms / size
        served.element_ms += (_SMOOTHING if served.element_ms else 1.0) * (newest_ms - served.element_ms)
        return Run(answer, (began - asked) * 1e3, compute_ms)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.close()


def _timed(served: ServedVersion, inputs: Tensors, outputs: Sequence[str]) -> tuple[dict[str, Array], float, float]:
    began = time.perf_counter()
    answer = served.engine.run(inputs, outputs)
    return answer, began, time.perf_counter()
