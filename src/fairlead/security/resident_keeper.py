"""The thread that a resident process belongs to: it starts the process, watches its files, and reaps it. It ends with the process.

Takes a SandboxJob, what the worker is told, and the descriptors that it inherits (closed here once it has them); gives how it ended.
Raises nothing: a process that cannot be started is a `refusal`.

The kernel sends "your parent has died" when the *thread* ends that started a process (man 2 prctl, PR_SET_PDEATHSIG): hence one of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading

from fairlead.core.ports import SandboxJob
from fairlead.security import sandbox_answers
from fairlead.security.sandbox_process import end_worker, hand_over, start_worker, written_bytes

STOP_S = 2.0
_WATCH_S = 1.0
_STATUS_BYTES = 4096


class Keeper(threading.Thread):
    """`pid` is the worker's, once `has_pid` is set; `stopped` is why this side ended it; `end` is how it ended, once `has_ended` is set."""

    def __init__(self, job: SandboxJob, described: bytes, inherited: tuple[int, ...]) -> None:
        super().__init__(name="fairlead-resident", daemon=True)
        self._job, self._described, self._inherited = job, described, inherited
        self._worker: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._has_started, self.has_pid, self.has_ended = threading.Event(), threading.Event(), threading.Event()
        self.refusal = ""
        self.stopped = ""
        self.pid = 0
        self.end: sandbox_answers.End | None = None

    def begin(self) -> None:
        """Start the thread, and with it the process; returns once there is one, or a `refusal`."""
        try:
            self.start()
        except RuntimeError as error:  # no more threads
            self.refusal = str(error)
            self._close_inherited()
            self.has_ended.set()
        else:
            self._has_started.wait()

    def run(self) -> None:
        """Start the process, watch it, reap it."""
        try:
            self._look_after(self._start_worker())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.refusal = str(error)
        finally:
            self._has_started.set()
            self.has_ended.set()

    def _start_worker(self) -> subprocess.Popen[bytes]:
        try:
            self._worker = start_worker(self._job, self._inherited)
        finally:
            self._close_inherited()
        self._has_started.set()
        return self._worker

    def _look_after(self, worker: subprocess.Popen[bytes]) -> None:
        try:
            hand_over(worker, self._described)
            self.end = sandbox_answers.read_end(self._watch(worker))
        finally:
            with self._lock:
                self._worker = None
                end_worker(worker)

    def _close_inherited(self) -> None:
        for descriptor in self._inherited:
            os.close(descriptor)

    def stop(self, reason: str) -> None:
        """End the process, if it has not ended yet, and wait until it has."""
        with self._lock:
            if self._worker is not None:
                self.stopped = self.stopped or reason
                self._worker.terminate()
        if not self.has_ended.wait(STOP_S):
            with self._lock:
                if self._worker is not None:
                    self._worker.kill()  # its child dies with it
            self.has_ended.wait(STOP_S)
        if self.is_alive():
            self.join(STOP_S)

    def _watch(self, worker: subprocess.Popen[bytes]) -> bytes:
        """Return the supervisor's lines once it has ended; stop it where the files that it wrote are too many."""
        lines, says = bytearray(), select.poll()
        says.register(worker.stdout, select.POLLIN)  # type: ignore[arg-type] # a pipe, see start_worker
        while True:
            if not says.poll(_WATCH_S * 1e3):
                if not self.stopped and written_bytes(self._job.scratch) > self._job.limits.file_bytes:
                    self.stopped = f"wrote more than {self._job.limits.file_bytes} bytes and was stopped"
                    worker.terminate()
                continue
            piece = os.read(worker.stdout.fileno(), _STATUS_BYTES)  # type: ignore[union-attr] # likewise
            if not piece:
                return bytes(lines)
            lines += piece[: _STATUS_BYTES - len(lines)]
            with contextlib.suppress(ValueError, TypeError, KeyError):
                self.pid = self.pid or int(json.loads(lines.splitlines()[0])["pid"])
                self.has_pid.set()
