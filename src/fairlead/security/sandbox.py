"""Runs foreign-file work in a new process that has no network, no rights and hard limits, and lives for one job.

Takes a SandboxJob, gives the JSON that its entry returned. A FairleadError inside comes out as the same class; everything else (crash,
limit, time-out, nonsense) is a SandboxError that says which. Never runs the job in this process, never believes the answer's size, and
leaves no process behind. Which layers hold on this machine is measured in a worker (`layers`), not assumed.

The worker starts as `python -s -P -B` with an environment of our own making: that is isolated mode (-I) except that PYTHONHASHSEED holds.
RLIMIT_AS bounds the address space, as the port says: JAX and PyTorch reserve much more than they use, give their jobs a larger
`memory_bytes`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead import errors
from fairlead.core.interface import shorten
from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import FairleadError, MissingExtraError, NoSpaceError, SandboxError

_BOOT = "import sys; sys.path.append(sys.argv[1]); from fairlead.security.sandbox_child import main; main()"
_STATUS_BYTES = 4096
_WATCH_S, _STOP_S = 0.25, 2.0
_LIMIT_HINT = "If you trust the file, give the sandbox larger limits (FAIRLEAD_SANDBOX_*)."
_BROKEN_HINT = "The file is most likely damaged, or made to do harm; save the model again from its source."
_MESSAGE_CHARS, _HINT_CHARS, _NOTE_CHARS = 2000, 1000, 8000
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class _Outcome:
    """What came back: the answer's bytes, the supervisor's lines, and why the parent ended it ("" if it did not)."""

    answer: bytearray = field(default_factory=bytearray)
    status: bytearray = field(default_factory=bytearray)
    stopped: str = ""


class OneShotSandbox:
    """One worker per job. `strict` refuses to work where a layer is missing; `import_paths` are extra folders of Python modules."""

    def __init__(self, *, strict: bool = False, import_paths: tuple[Path, ...] = ()) -> None:
        self._is_strict = strict
        self._import_paths = tuple(str(path.resolve()) for path in import_paths)

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Return what the entry returned; see `core.ports.Sandbox.run`. `job.scratch` is made (0700) where it is absent."""
        return self._run(job, is_strict=self._is_strict)[0]

    def layers(self) -> Mapping[str, str]:
        """Return each layer's name -> "active" or the reason, as a worker found them."""
        with tempfile.TemporaryDirectory() as scratch:
            job = SandboxJob("fairlead.security.sandbox_child:nothing", Path(scratch), limits=SandboxLimits(cpu_s=10, wall_s=30.0))
            return self._run(job, is_strict=False)[1]

    def _run(self, job: SandboxJob, *, is_strict: bool) -> tuple[dict[str, Any], Mapping[str, str]]:
        job.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            worker = _start(job, writer)
        except OSError as error:
            os.close(reader)
            raise SandboxError(f"The import worker cannot be started: {error.strerror}.", hint="See `fairlead doctor`.") from None
        finally:
            os.close(writer)
        try:
            outcome = _converse(worker, reader, self._describe(job, writer, is_strict=is_strict), job)
        finally:
            os.close(reader)
            _end(worker)
        return _read_answer(outcome, job)

    def _describe(self, job: SandboxJob, answer: int, *, is_strict: bool) -> bytes:
        described = {
            "entry": job.entry,
            "arguments": job.arguments,
            "scratch": str(job.scratch.resolve()),
            "readable": [*(str(path.resolve()) for path in job.readable), *self._import_paths],
            "import_paths": self._import_paths,
            "limits": {"memory_bytes": job.limits.memory_bytes, "cpu_s": job.limits.cpu_s, "file_bytes": job.limits.file_bytes},
            "is_strict": is_strict,
            "answer": answer,
            "parent": os.getpid(),
        }
        return json.dumps(described).encode()


def _start(job: SandboxJob, answer: int) -> subprocess.Popen[bytes]:
    scratch = str(job.scratch.resolve())
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "USER": "fairlead", "LOGNAME": "fairlead", "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2", **dict.fromkeys(_THREADS, "1"),
    }  # fmt: skip
    if "LD_LIBRARY_PATH" in os.environ:  # conda and Nix find their C++ library by it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    package_root = str(Path(errors.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-B", "-c", _BOOT, package_root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(answer,),
        env=environment,
        cwd=scratch,
        start_new_session=True,
    )


def _converse(worker: subprocess.Popen[bytes], reader: int, described: bytes, job: SandboxJob) -> _Outcome:
    """Hand the job over and read both pipes until they end; ask the supervisor to stop where a limit is met."""
    outcome = _Outcome()
    with contextlib.suppress(BrokenPipeError), worker.stdin as stream:  # type: ignore[union-attr] # both are pipes, see _start
        stream.write(described)
    deadline = time.monotonic() + job.limits.wall_s
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ, (outcome.answer, job.limits.output_bytes))
        selector.register(worker.stdout, selectors.EVENT_READ, (outcome.status, _STATUS_BYTES))  # type: ignore[arg-type]
        while selector.get_map():
            left = deadline - time.monotonic()
            for key, _ in selector.select(min(max(left, 0.0), _WATCH_S)):
                piece = os.read(key.fd, 1 << 16)
                buffer, limit = key.data
                if not piece:
                    selector.unregister(key.fileobj)
                elif len(buffer) <= limit:
                    buffer.extend(piece)
            if outcome.stopped and left <= 0:
                return outcome  # it was asked to stop and does not
            if not outcome.stopped and (reason := _broken_limit(outcome, job, left)):
                outcome.stopped = reason
                deadline = time.monotonic() + _STOP_S
                worker.terminate()
    return outcome


def _broken_limit(outcome: _Outcome, job: SandboxJob, left_s: float) -> str:
    if left_s <= 0:
        return f"took longer than {job.limits.wall_s:g} s"
    if len(outcome.answer) > job.limits.output_bytes:
        return f"answered more than {job.limits.output_bytes} bytes"
    if _written_bytes(job.scratch) > job.limits.file_bytes:
        return f"wrote more than {job.limits.file_bytes} bytes"
    return ""


def _written_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it may go while we look
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - names of the worker, not paths of ours
    return total


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the worker's process group and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()


def _read_answer(outcome: _Outcome, job: SandboxJob) -> tuple[dict[str, Any], Mapping[str, str]]:
    if outcome.stopped:
        raise SandboxError(f"The import worker {outcome.stopped} and was stopped.", hint=_LIMIT_HINT)
    _check_end(outcome, job.limits)
    try:
        answer = json.loads(outcome.answer)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise SandboxError("The import worker answered nonsense.", hint=_BROKEN_HINT)
    if "refused" in answer:
        missing = ", ".join(str(name) for name in answer["refused"])
        raise SandboxError(f"Strict sandboxing is on and this machine lacks: {missing}.", hint="See `fairlead doctor` for the reasons.")
    if "error" in answer:
        raise _rebuild(answer["error"])
    if "failure" in answer:
        raise _failure(answer["failure"], job.limits)
    result, layers = answer.get("result"), answer.get("layers")
    if not isinstance(result, dict) or not isinstance(layers, dict):
        raise SandboxError("The import worker answered something other than a JSON object.", hint=_BROKEN_HINT)
    return result, {str(name): str(state) for name, state in layers.items()}


def _check_end(outcome: _Outcome, limits: SandboxLimits) -> None:
    try:
        end = json.loads(outcome.status)
        code, cpu_s = int(end["code"]), float(end["cpu_s"])
    except (ValueError, TypeError, KeyError):
        raise SandboxError("The import worker died before it began.", hint="See `fairlead doctor`.") from None
    if code in (-signal.SIGKILL, -signal.SIGXCPU) and cpu_s >= limits.cpu_s - 0.5:
        raise SandboxError(f"The import worker used more than {limits.cpu_s} s of processor time and was stopped.", hint=_LIMIT_HINT)
    if code == -signal.SIGKILL:
        raise SandboxError("The import worker was killed (SIGKILL), as the system does when memory runs out.", hint=_LIMIT_HINT)
    if code < 0:
        raise SandboxError(f"The import worker crashed ({signal.Signals(-code).name}).", hint=_BROKEN_HINT)
    if code > 0 or not outcome.answer:
        raise SandboxError(f"The import worker ended without an answer (exit code {code}).", hint=_BROKEN_HINT)


def _rebuild(plain: Any) -> FairleadError:
    """Return the error that was raised inside; its texts are foreign and therefore bounded and printable."""
    kind = getattr(errors, str(plain.get("class")), None) if isinstance(plain, dict) else None
    if not isinstance(kind, type) or not issubclass(kind, FairleadError):
        return SandboxError("The import worker answered nonsense.", hint=_BROKEN_HINT)
    error = kind.__new__(kind)  # __init__ of some classes takes other things
    FairleadError.__init__(error, shorten(str(plain.get("message")), _MESSAGE_CHARS), hint=shorten(str(plain.get("hint")), _HINT_CHARS))
    if isinstance(error, MissingExtraError):
        error.extra = shorten(str(plain.get("extra")))
    return error


def _failure(plain: Any, limits: SandboxLimits) -> FairleadError:
    details = plain if isinstance(plain, dict) else {}
    kind = shorten(str(details.get("kind")))
    if kind == "MemoryError":
        return SandboxError(f"The import worker ran out of memory (limit {limits.memory_bytes} bytes).", hint=_LIMIT_HINT)
    if kind == "file-limit":
        return SandboxError(f"The import worker wrote more than {limits.file_bytes} bytes and was stopped.", hint=_LIMIT_HINT)
    if kind == "full":
        return NoSpaceError(
            "No space is left for the import worker's files.", hint="Free some space, or set FAIRLEAD_HOME to a larger disk."
        )
    said = shorten(str(details.get("message")), 300)
    error = SandboxError(f"The import worker failed: {kind}: {said}" if said else f"The import worker failed: {kind}.", hint=_BROKEN_HINT)
    error.add_note(shorten(str(details.get("trace")), _NOTE_CHARS))  # seen in a developer's trace only
    return error
