"""Where a batch meets an engine: in the event loop, in a thread, or in another process.

`Executor` is the seam between the scheduler, which decides what runs when, and what runs it. Takes tensors that fit the interface; gives
the outputs. Raises what the engine raises, UnavailableError where the process that ran it died or hangs. It never queues or observes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fairlead.core.interface import Array, Interface, Tensors


class Executor(Protocol):
    """Runs batches of one loaded version. Everything here is called in the event loop's thread."""

    @property
    def interface(self) -> Interface:
        """What the version takes and gives."""
        ...

    @property
    def description(self) -> str:
        """What runs it, with version: e.g. "onnxruntime 1.31.1"."""
        ...

    @property
    def slot_count(self) -> int:
        """How many calls of `run` may be under way at once; a dead worker's slot does not count until it is replaced."""
        ...

    @property
    def is_blocking(self) -> bool:
        """Whether a call may take long whatever calls before took, so that `run_now` must not be used."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What its processes outside this one take at the moment; may read files."""
        ...

    def run_now(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs (all where none are named), computed in the calling thread; for calls that are over at once."""
        ...

    async def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs, computed beside the event loop. Cancelling it frees the slot when the engine's call is over."""
        ...

    def close(self) -> None:
        """Give memory, threads and processes back; returns at once. Idempotent."""
        ...
