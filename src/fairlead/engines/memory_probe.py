"""How much memory a model takes: the peak of a process that loads and runs it, less that of one that only imports the runtime.

Takes an engine's name, the model file, its interface and rows to send; gives bytes. Each figure comes from a fresh child process that
reports its own high-water mark (VmHWM of /proc/self/status, else ru_maxrss), so nothing of the caller is counted; both children hold the
rows, so they cancel out. An engine whose model lives in a sandboxed process is measured in a second such process, less one that only loads
the libraries. Raises EnvironmentalError where a child fails or takes too long. It opens only files that Fairlead wrote.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, Tensors, TensorSpec
from fairlead.core.ports import Engine
from fairlead.engines.catalog import ENGINES
from fairlead.engines.ensemble_engine import EnsembleEngine
from fairlead.engines.opening import open_engine
from fairlead.engines.resident_engine import ResidentEngine
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import EnvironmentalError

_WALL_S = 120.0
_RUN_COUNT = 3  # the arena of ONNX Runtime has its final size after the first calls


@dataclass(frozen=True)
class MemoryReading:
    """Peak resident bytes of a process with the model, and of one with the bare runtime."""

    peak_bytes: int
    bare_bytes: int

    @property
    def model_bytes(self) -> int:
        """What the model adds; 0 where the difference drowns in the noise of the system."""
        return max(self.peak_bytes - self.bare_bytes, 0)


def measure_memory(
    model: Path,
    interface: Interface,
    inputs: Tensors,
    *,
    engine: str = "onnxruntime",
    thread_count: int = 1,
    running: Engine | None = None,
    session: Sequence[str] = (),
) -> MemoryReading:
    """Return the reading for `model` run a few times with `inputs` by `engine` (a name of engines.catalog.ENGINES).

    `running` is the engine that runs it already, where there is one: it knows the sandbox that its process lives in. `session` are settings
    of the engine.
    """
    if isinstance(running, ResidentEngine):
        peak, bare = running.measure_memory(inputs, run_count=_RUN_COUNT)
        return MemoryReading(peak_bytes=peak, bare_bytes=bare)
    if isinstance(running, EnsembleEngine) and running.needs_sandbox:
        return _measure_members(running, inputs)
    with tempfile.TemporaryDirectory(prefix="fairlead-memory-") as folder:
        rows = Path(folder) / "inputs.npz"
        write_tensors(rows, inputs)
        job = {
            "engine": engine,
            "model": str(model),
            "rows": str(rows),
            "thread_count": thread_count,
            "session": list(session),
            "inputs": [_to_plain(spec) for spec in interface.inputs],
            "outputs": [_to_plain(spec) for spec in interface.outputs],
        }
        with ThreadPoolExecutor(2) as pool:  # nothing is timed here, so both children may run at once
            peak, bare = pool.map(_child_peak, ({**job, "has_model": True}, {**job, "has_model": False}))
        return MemoryReading(peak_bytes=peak, bare_bytes=bare)


def _measure_members(ensemble: EnsembleEngine, inputs: Tensors) -> MemoryReading:
    """Add up what the members take, each in a process of its own: an upper bound, since they are not at their peaks at once."""
    found = [
        measure_memory(
            path,
            member.interface,
            taken,
            engine=member.engine,
            thread_count=member.thread_count,
            running=engine,
            session=member.session,
        )
        for (member, path, engine), taken in zip(ensemble.members, ensemble.flow(inputs), strict=True)
    ]
    return MemoryReading(peak_bytes=sum(one.peak_bytes for one in found), bare_bytes=sum(one.bare_bytes for one in found))


def _child_peak(job: Mapping[str, Any]) -> int:
    argv = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(argv, input=json.dumps(job), capture_output=True, text=True, timeout=_WALL_S, check=True)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = type(error).__name__ if not isinstance(error, subprocess.CalledProcessError) else f"exit status {error.returncode}"
        raise EnvironmentalError(
            f"The memory that the model takes cannot be measured: the measuring process failed ({reason}).",
            hint="Is there enough memory for a second copy of the model?",
        ) from error


def _run_job(job: Mapping[str, Any]) -> int:
    """In the child: import the runtime, read the rows, run the model where the job says so; return this process's peak in bytes."""
    ENGINES.load(job["engine"])
    inputs = read_tensors(Path(job["rows"]))
    if job["has_model"]:
        interface = Interface(tuple(map(_from_plain, job["inputs"])), tuple(map(_from_plain, job["outputs"])))
        engine = open_engine(job["engine"], Path(job["model"]), interface, thread_count=job["thread_count"], session=job["session"])
        for _ in range(_RUN_COUNT):
            engine.run(inputs)
    return _own_peak()


def _own_peak() -> int:
    try:
        # Not ru_maxrss: Linux carries it over from the parent through fork and exec, VmHWM starts anew (man 2 getrusage, proc(5)).
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _to_plain(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype.value, list(spec.shape)]


def _from_plain(plain: list[Any]) -> TensorSpec:
    name, dtype, shape = plain
    return TensorSpec(name, DType(dtype), tuple(shape))


if __name__ == "__main__":
    sys.stdout.write(str(_run_job(json.load(sys.stdin))))
