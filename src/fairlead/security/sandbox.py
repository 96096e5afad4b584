"""Runs foreign-file work in a new process that has no network, no rights and hard limits, and lives for one job or until it is closed.

Takes a SandboxJob, gives the JSON that its entry returned, or a Resident. A FairleadError inside comes out as the same class; everything
else (crash, limit, time-out, nonsense) is a SandboxError that says which. Never runs the job in this process, never believes the answer's
size, and leaves no process behind. Which layers hold on this machine is measured in a worker (`layers`), not assumed.

RLIMIT_AS bounds the address space, as the port says: JAX and PyTorch reserve much more than they use, give their jobs a larger
`memory_bytes`.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import SandboxError
from fairlead.security import sandbox_answers
from fairlead.security.resident_process import ResidentProcess, start_resident
from fairlead.security.sandbox_answers import BROKEN_HINT, LIMIT_HINT
from fairlead.security.sandbox_process import describe, end_worker, hand_over, start_worker, written_bytes

_WHO = "The import worker"
_STATUS_BYTES = 4096
_WATCH_S, _STOP_S = 0.25, 2.0


@dataclass
class _Outcome:
    """What came back: the answer's bytes, the supervisor's lines, and why the parent ended it ("" if it did not)."""

    answer: bytearray = field(default_factory=bytearray)
    status: bytearray = field(default_factory=bytearray)
    stopped: str = ""


class OneShotSandbox:
    """A process per job. `strict` refuses to work where a layer is missing; `import_paths` are extra folders of Python modules."""

    def __init__(self, *, strict: bool = False, import_paths: tuple[Path, ...] = ()) -> None:
        self._is_strict = strict
        self._import_paths = tuple(str(path.resolve()) for path in import_paths)

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Return what the entry returned; see `core.ports.Sandbox.run`. `job.scratch` is made (0700) where it is absent."""
        return self._run(job, is_strict=self._is_strict)[0]

    def start(self, job: SandboxJob) -> ResidentProcess:
        """Start a process that stays; see `core.ports.Sandbox.start`. `job.scratch` is made (0700) where it is absent."""
        return start_resident(job, self._import_paths, is_strict=self._is_strict)

    def layers(self) -> Mapping[str, str]:
        """Return each layer's name -> "active" or the reason, as a worker found them."""
        with tempfile.TemporaryDirectory() as scratch:
            job = SandboxJob("fairlead.security.sandbox_child:nothing", Path(scratch), limits=SandboxLimits(cpu_s=10, wall_s=30.0))
            return self._run(job, is_strict=False)[1]

    def _run(self, job: SandboxJob, *, is_strict: bool) -> tuple[dict[str, Any], Mapping[str, str]]:
        job.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            worker = start_worker(job, (writer,))
        except OSError as error:
            os.close(reader)
            raise SandboxError(f"{_WHO} cannot be started: {error.strerror}.", hint="See `fairlead doctor`.") from None
        finally:
            os.close(writer)
        try:
            hand_over(worker, describe(job, self._import_paths, is_strict=is_strict, answer=writer))
            outcome = _converse(worker, reader, job)
        finally:
            os.close(reader)
            end_worker(worker)
        return _read_answer(outcome, job)


def _converse(worker: subprocess.Popen[bytes], reader: int, job: SandboxJob) -> _Outcome:
    """Read both pipes until they end; ask the supervisor to stop where a limit is met."""
    outcome = _Outcome()
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
    if written_bytes(job.scratch) > job.limits.file_bytes:
        return f"wrote more than {job.limits.file_bytes} bytes"
    return ""


def _read_answer(outcome: _Outcome, job: SandboxJob) -> tuple[dict[str, Any], Mapping[str, str]]:
    if outcome.stopped:
        raise SandboxError(f"{_WHO} {outcome.stopped} and was stopped.", hint=LIMIT_HINT)
    end = sandbox_answers.read_end(bytes(outcome.status))
    wrong, hint = sandbox_answers.how_it_ended(end, job.limits, has_answered=bool(outcome.answer))
    if wrong:
        raise SandboxError(f"{_WHO} {wrong}.", hint=hint)
    try:
        answer = json.loads(outcome.answer)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise SandboxError(f"{_WHO} answered nonsense.", hint=BROKEN_HINT)
    sandbox_answers.raise_what_it_says(answer, job.limits, _WHO)
    result, layers = answer.get("result"), answer.get("layers")
    if not isinstance(result, dict) or not isinstance(layers, dict):
        raise SandboxError(f"{_WHO} answered something other than a JSON object.", hint=BROKEN_HINT)
    return result, {str(name): str(state) for name, state in layers.items()}
