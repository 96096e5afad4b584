"""The base of engines whose model lives in a sandboxed process of its own: opened once, asked over pipes, replaced when it dies.

Takes a Worker whose entry opens the model and returns a function tensors -> tensors, and a Sandbox; gives an `Engine`. Raises what opening
the model raises; later RequestError, TooLargeError, what the function raises, DeadlineError, UnavailableError where the process died or is
not back yet, CorruptError for answers that do not fit the interface. A request that a process died of is never sent again. Never runs
the model in this process.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.ports import Clock, Resident, Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.sandboxed_engine import Worker
from fairlead.errors import CorruptError, DeadlineError, FairleadError, UnavailableError

RESIDENT_LIMITS = SandboxLimits(memory_bytes=8 * 2**30, wall_s=120.0, file_bytes=2**30, output_bytes=2**30)
_ANSWER_S, _ANSWER_ROW_S = 30.0, 0.1
_WAIT_S, _WAIT_LIMIT_S = 0.5, 30.0
_HINT = "Ask again in a moment; see the server's log if it stays like this."


def restart_delay_s(failures: int) -> float:
    """Return how long to wait before the next start after that many failures in a row: nothing after the first, then doubling."""
    return 0.0 if failures <= 1 else min(_WAIT_S * 2.0 ** min(failures - 2, 16), _WAIT_LIMIT_S)


def answer_time_s(rows: int) -> float:
    """Return how long a process may take for that many rows before it counts as hung."""
    return _ANSWER_S + _ANSWER_ROW_S * rows


class _Life:
    """One process and the folder that it may write. Both go at the latest when nobody holds this any more, or Python ends."""

    def __init__(self, resident: Resident, scratch: Path) -> None:
        self.resident = resident
        self.end = weakref.finalize(self, _end, resident, scratch)


def _end(resident: Resident, scratch: Path) -> None:
    resident.close()
    shutil.rmtree(scratch, ignore_errors=True)


class ResidentEngine:
    """Runs one model in one process at a time. Safe to call from several threads: they take turns. The process starts at once.

    `libraries` are the modules that the entry loads (their memory is not the model's). `clock` gives monotonic seconds.
    """

    needs_sandbox: ClassVar[bool] = True

    def __init__(
        self, worker: Worker, interface: Interface, sandbox: Sandbox, *, libraries: Sequence[str] = (), clock: Clock = time.monotonic
    ) -> None:
        self._worker, self._interface, self._sandbox, self._clock = worker, interface, sandbox, clock
        self._libraries = tuple(libraries)
        self._turn = threading.Lock()
        self._failures, self._start_at = 0, 0.0
        self._is_closed = False
        self._life: _Life | None = self._begin(worker)

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What runs it, with version."""
        return self._worker.description

    @property
    def pid(self) -> int:
        """The process that holds the model now; 0 where there is none."""
        life = self._life
        return int(getattr(life.resident, "pid", 0)) if life is not None and life.resident.is_alive else 0

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine and the module's first lines for the errors."""
        rows = self._interface.check_inputs(inputs)
        wanted = [self._interface.output(name) for name in outputs] or list(self._interface.outputs)
        limit_s = answer_time_s(rows)
        if not self._turn.acquire(timeout=limit_s):
            raise DeadlineError(f"The model's process was busy with other requests for {limit_s:g} s.", hint=_HINT)
        try:
            answers = self._ask({spec.name: inputs[spec.name] for spec in self._interface.inputs}, limit_s)
        finally:
            self._turn.release()
        return {spec.name: _checked(spec, answers, rows) for spec in wanted}

    def revive(self) -> float:
        """Start the process again where it is dead, ahead of the next request; return seconds after which to try again, 0 if it lives."""
        with self._turn:
            if self._is_closed:
                return 0.0
            try:
                self._living()
            except FairleadError:
                return max(self._start_at - self._clock(), _WAIT_S)
        return 0.0

    def measure_memory(self, inputs: Tensors, *, run_count: int) -> tuple[int, int]:
        """Return the most resident bytes of a process of its own that answers `inputs` so often, and of one with the libraries alone."""
        bare = replace(self._worker, entry=f"{__name__}:load_libraries", arguments={"libraries": self._libraries})
        peaks = []
        for worker, count in ((self._worker, run_count), (bare, 0)):
            life = self._begin(worker)
            try:
                for _ in range(count):
                    life.resident.ask(inputs, timeout_s=answer_time_s(len(next(iter(inputs.values())))))
                peaks.append(life.resident.peak_memory_bytes)
            finally:
                life.end()
        return peaks[0], peaks[1]

    def close(self) -> None:
        """End the process; a request in flight gets an error. Idempotent."""
        self._is_closed = True
        life = self._life
        if life is not None:
            life.resident.close()
        with self._turn:
            self._bury()

    def _ask(self, inputs: Tensors, limit_s: float) -> dict[str, Array]:
        resident = self._living()
        try:
            answers = resident.ask(inputs, timeout_s=limit_s)
        except BaseException:
            if not resident.is_alive:
                self._fail()
            raise
        self._failures = 0
        return answers

    def _living(self) -> Resident:
        """Return a process that can be asked: the one that is there, or a new one."""
        if self._is_closed:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        if self._life is not None and self._life.resident.is_alive:
            return self._life.resident
        if self._life is not None:  # it died between two requests
            self._fail()
        wait_s = self._start_at - self._clock()
        if wait_s > 0:
            raise UnavailableError(
                f"The model's process failed {self._failures} times in a row; it starts again in {wait_s:.1f} s.", hint=_HINT
            )
        try:
            self._life = self._begin(self._worker)
        except FairleadError as error:
            self._fail()
            raise UnavailableError(f"The model's process does not start again: {error.message}", hint=_HINT) from error
        return self._life.resident

    def _fail(self) -> None:
        self._failures += 1
        self._start_at = self._clock() + restart_delay_s(self._failures)
        self._bury()

    def _bury(self) -> None:
        if self._life is not None:
            self._life.end()
            self._life = None

    def _begin(self, worker: Worker) -> _Life:
        scratch = Path(tempfile.mkdtemp(prefix="fairlead-resident-"))
        job = SandboxJob(worker.entry, scratch, worker.arguments, (worker.model,), worker.limits)
        try:
            return _Life(self._sandbox.start(job), scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def load_libraries(arguments: Mapping[str, Any]) -> Callable[[Tensors], Tensors]:
    """Run in the sandbox: load what the model's entry loads, and no model."""
    for name in arguments["libraries"]:
        with suppress(ImportError):
            importlib.import_module(name)
    return lambda inputs: inputs


def _checked(spec: TensorSpec, answers: Tensors, rows: int) -> Array:
    """Return the answer that `spec` describes; it comes from a process that opened a foreign file, so nothing about it is believed."""
    answer = answers.get(spec.name)
    wanted = (rows, *spec.shape[1:])
    if (
        answer is None
        or answer.dtype != spec.dtype.numpy
        or answer.ndim != len(wanted)
        or any(want is not None and want != got for want, got in zip(wanted, answer.shape, strict=True))
    ):
        raise CorruptError(f"The model's process gave no usable '{spec.name}'.", hint="The file is damaged, or not what was proven.")
    return answer
