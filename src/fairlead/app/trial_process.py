"""Trials in processes of their own: started, listened to, paused while something is timed, ended.

Takes TrialJobs, gives TrialEnds; never raises for what happens inside. A crash, a memory blow-up or a hang is an end with its reason. All
processes end with this one, also when it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fairlead import errors
from fairlead.core.interface import shorten
from fairlead.errors import MissingExtraError
from fairlead.security.own_process import environment_without_secrets

_BOOT = "import sys; sys.path.append(sys.argv[1]); from fairlead.app.trial_child import main; main()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LINE_BYTES = 1 << 16
_NAP_S = 1.0
_SAID = "stderr.txt"
_LAST_S = 5.0  # between closing its output and its end
_CRASHES = {
    signal.SIGKILL: "it was ended by the system: out of memory?",
    signal.SIGSEGV: "it crashed (segmentation fault)",
    signal.SIGABRT: "it crashed (abort)",
    signal.SIGFPE: "it crashed (arithmetic error)",
    signal.SIGBUS: "it crashed (bus error)",
    signal.SIGILL: "it crashed (illegal instruction)",
}


@dataclass(frozen=True)
class TrialJob:
    """Apply `passes` (numbered from `first`) to `source`, and run the result. `shared` holds interface.json, selection.npz, and where there
    are any calibration.npz and training.npz. `time_s` is what passes may take, `limit_s` when the process is ended.
    """

    name: str
    source: Path
    passes: tuple[str, ...]
    first: int
    folder: Path
    shared: Path
    seed: int
    time_s: float
    limit_s: float
    thread_count: int = 1
    memory_bytes: int = 0


@dataclass(frozen=True)
class TrialEnd:
    """What became of a job. `reason` is "" where everything ran; `is_refused`: a pass or the runtime said so; `is_late`: its time was
    up. `finished_count` passes were applied.
    """

    job: TrialJob
    reason: str
    seconds: float
    finished_count: int
    is_refused: bool = False
    is_late: bool = False


@dataclass
class _Running:
    job: TrialJob
    process: subprocess.Popen[bytes]
    started: float
    deadline: float
    rest: bytes = b""
    finished: int = 0
    error: tuple[str, str, str] | None = None
    has_run: bool = False
    is_late: bool = False


@dataclass
class TrialPool:
    """At most `width` trials at once. `on_report` is told (name of the trial, line), `on_wait` called each second of waiting."""

    width: int
    on_report: Callable[[str, str], None] = lambda _name, _line: None
    on_wait: Callable[[], None] = lambda: None
    _running: list[_Running] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        """Whether another trial may start."""
        return len(self._running) < self.width

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def start(self, job: TrialJob) -> None:
        """Start a trial. Has to be called by the thread that outlives it: the kernel ends children with the thread that made them."""
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = environment_without_secrets() | dict.fromkeys(_THREADS, str(job.thread_count)) | {"PYTHONHASHSEED": "0"}
        with (job.folder / _SAID).open("wb") as stderr:
            process = self._popen(environment, stderr)
        now = time.monotonic()
        self._running.append(_Running(job, process, now, now + job.limit_s))
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:  # type: ignore[union-attr] # a pipe, see above
            stream.write(json.dumps(_described(job)).encode())

    def _popen(self, environment: dict[str, str], stderr: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, str(Path(errors.__file__).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )

    def wait(self) -> TrialEnd:
        """Return the next trial that ends; raises ValueError where none runs."""
        if not self._running:
            raise ValueError("no trial runs")
        with selectors.DefaultSelector() as selector:
            for one in self._running:
                selector.register(one.process.stdout, selectors.EVENT_READ, one)  # type: ignore[arg-type] # a pipe
            while True:
                left = min(one.deadline for one in self._running) - time.monotonic()
                for key, _ in selector.select(min(max(left, 0.0), _NAP_S)):
                    if self._read(key.data):
                        return self._end(key.data)
                self.on_wait()
                for one in self._running:
                    if time.monotonic() >= one.deadline:
                        one.is_late = True
                        return self._end(one)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold all trials while the context lasts: something is timed. Their time stands still, too."""
        began = time.monotonic()
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)
            for one in self._running:
                one.deadline += time.monotonic() - began

    def close(self) -> None:
        """End everything that runs."""
        while self._running:
            self._running[0].is_late = True
            self._end(self._running[0])

    def _signal(self, number: signal.Signals) -> None:
        for one in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, number)

    def _read(self, one: _Running) -> bool:
        """Take what the trial says; return whether it has ended."""
        piece = os.read(one.process.stdout.fileno(), _LINE_BYTES)  # type: ignore[union-attr] # a pipe
        *lines, one.rest = (one.rest + piece).split(b"\n")
        for line in lines:
            self._take(one, line)
        one.rest = one.rest[-_LINE_BYTES:]
        return not piece

    def _take(self, one: _Running, line: bytes) -> None:
        """A library may print what it likes: only what reads as an event is one."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        if "report" in event:
            self.on_report(one.job.name, str(event["report"]))
        elif "finished" in event:
            one.finished += 1
        elif "ran" in event:
            one.has_run = True
        elif "error" in event:
            one.error = (str(event["error"]), str(event.get("hint", "")), str(event.get("kind", "")))

    def _end(self, one: _Running) -> TrialEnd:
        self._running.remove(one)
        status = _reap(one.process, has_closed=not one.is_late)
        return TrialEnd(one.job, _reason(one, status), time.monotonic() - one.started, one.finished, one.error is not None, one.is_late)


def _reap(process: subprocess.Popen[bytes], *, has_closed: bool) -> int:
    """Return the exit status; one that still talks is ended, and so is whatever it started."""
    if has_closed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return status


def _reason(one: _Running, status: int) -> str:
    if one.is_late:
        return f"it took longer than {one.job.limit_s:.0f} s"
    if one.error is not None:
        message, hint, kind = one.error
        return hint.removeprefix("Install it: ") if kind == MissingExtraError.code else message
    if one.has_run and status == 0:
        return ""
    if status < 0:
        return _CRASHES.get(signal.Signals(-status), f"it was ended by signal {-status}")
    return f"it failed: {_last_words(one.job.folder / _SAID)}" if status else "it ended without an answer"


def _last_words(path: Path) -> str:
    """Return the last line that a failed process wrote: the error that nobody caught."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - _LINE_BYTES, 0))
        lines = file.read().decode(errors="replace").split("\n")
        return shorten(next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing"), 200)
    return "it said nothing"


def _described(job: TrialJob) -> dict[str, Any]:
    return {
        "source": str(job.source), "passes": list(job.passes), "first": job.first, "folder": str(job.folder), "shared": str(job.shared),
        "seed": job.seed, "time_s": job.time_s, "thread_count": job.thread_count, "memory_bytes": job.memory_bytes, "parent": os.getpid(),
    }  # fmt: skip
