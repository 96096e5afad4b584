"""The process that workers are copies of: it opens a model once, proves it, and is forked for every worker that the front asks for.

Started clean by exec (serve.workers.zygote_process); what it opens is shared by all its copies, page by page, until one of them writes.
Takes its job and its end of a socket; says what came of it. It answers no requests, starts no thread, and kills its copies when the front
lets go of the socket; the kernel does the same where this process, or the front, is killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path

from fairlead.core.ports import Engine
from fairlead.engines.opening import open_engine
from fairlead.serve.golden_check import answer_rightly
from fairlead.serve.workers import confinement
from fairlead.serve.workers.control import (
    FORK,
    MESSAGE_BYTES,
    Ended,
    Failed,
    Forked,
    Message,
    Opened,
    ZygoteJob,
    decode_job,
    encode,
    unpack_golden,
)  # fmt: skip
from fairlead.serve.workers.frames import fault_of
from fairlead.serve.workers.pulse import Pulse
from fairlead.serve.workers.worker_loop import BEAT_S, work

_ZYGOTE_SCORE, _WORKER_SCORE = 200, 500  # of 1000 (proc(5), oom_score_adj); the front keeps what it was started with


def main() -> None:
    """Read the job, open the model, say so, and fork until the front is gone."""
    control, job_file, page = (int(word) for word in sys.argv[2:5])
    with open(job_file, "rb") as stream:  # noqa: PTH123 - a descriptor
        job = decode_job(stream.read())
    confinement.die_with_parent(job.front_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the front's; it lets its workers finish
    confinement.prefer_for_killing(_ZYGOTE_SCORE)
    Zygote(job, socket.socket(fileno=control), Pulse.attach(page)).run()


class Zygote:
    """`control` is this process's end of the socket to the front, `pulse` the page that it beats on."""

    def __init__(self, job: ZygoteJob, control: socket.socket, pulse: Pulse) -> None:
        self._job, self._control, self._pulse = job, control, pulse
        self._workers: set[int] = set()
        self._given: tuple[Engine, Opened] | None = None

    def run(self) -> None:
        """Open, say so, fork; returns when the front is gone."""
        try:
            opened = self._open()
        except BaseException as error:  # noqa: BLE001 - a library may raise anything for a file; the front says it to whoever waits
            self._say(Failed(fault_of(error)))
            return
        gc.collect()
        gc.freeze()  # a collection in a copy would write to every object, and so unshare it
        if self._say(opened):
            try:
                self._serve()
            finally:
                self._end_workers()

    def _open(self) -> Opened:
        """Open the model and keep it, where its process may be copied; else leave that to each worker."""
        if not self._job.is_fork_safe:
            return Opened("", 0.0, is_shared=False)
        engine, opened = self._proven_engine()
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - a count
            return Opened("", 0.0, is_shared=False)  # it started threads after all: the front starts another zygote, which opens nothing
        self._given = engine, opened
        return opened

    def _proven_engine(self) -> tuple[Engine, Opened]:
        job = self._job
        engine = open_engine(job.engine, Path(job.path), job.interface, thread_count=1, session=job.session)
        golden = unpack_golden(job.golden, job.interface) if job.golden is not None else None
        element_ms = answer_rightly(job.label, engine, golden) if golden is not None else 0.0
        return engine, Opened(engine.description, element_ms, is_shared=job.is_fork_safe)

    def _serve(self) -> None:
        asks = select.poll()
        asks.register(self._control, select.POLLIN)
        while True:
            self._pulse.beat()
            if asks.poll(BEAT_S * 1e3):
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
                if data != FORK or len(descriptors) != 2 or not self._fork(*descriptors):
                    return
            if not self._reap():
                return

    def _fork(self, line: int, page: int) -> bool:
        """Start a worker and say so; returns whether the front still listens."""
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_worker(own, line, page)
            finally:
                os._exit(0)  # without the clean-up that belongs to the process that this one was copied from
        os.close(line)
        os.close(page)
        self._workers.add(pid)
        handle = os.pidfd_open(pid)
        try:
            return self._say(Forked(pid), handle)
        finally:
            os.close(handle)

    def _become_worker(self, zygote: int, line: int, page: int) -> None:
        confinement.die_with_parent(zygote)
        self._control.close()
        confinement.prefer_for_killing(_WORKER_SCORE)
        work(socket.socket(fileno=line), Pulse.attach(page), self._job.interface, self._open_confined)

    def _open_confined(self) -> tuple[Engine, Opened]:
        """Return what the zygote opened, or open it here, where it may still compile and read what it needs; then give up the rest."""
        given = self._given or self._proven_engine()
        confinement.close_files((str(Path(self._job.path).parent),))
        confinement.limit_resources(confinement.address_space_bytes() + self._job.memory_bytes)
        confinement.give_up_rights()
        return given

    def _reap(self) -> bool:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._workers.discard(pid)
            if not self._say(Ended(pid, os.waitstatus_to_exitcode(status))):
                return False
        return True

    def _end_workers(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)

    def _say(self, message: Message, *descriptors: int) -> bool:
        with contextlib.suppress(OSError):  # the front is gone
            socket.send_fds(self._control, [encode(message)], list(descriptors))
            return True
        return False
