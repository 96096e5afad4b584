"""The front's side of a zygote: starts it, hears what it says, asks it for workers, and ends it.

Takes a job and listeners, which are called in the event loop; gives `fork` and `end`. The thread that starts the process waits for its end
and reaps it: the kernel sends "your parent has died" when the *thread* ends that started a process (man 2 prctl, PR_SET_PDEATHSIG).
Raises OSError where there are no more descriptors, and nothing later: what goes wrong ends the zygote, and its listener hears of that once.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from fairlead import errors
from fairlead.errors import CorruptError
from fairlead.serve.workers.control import FORK, MESSAGE_BYTES, Message, ZygoteJob, decode_message, encode
from fairlead.serve.workers.pulse import Pulse

_BOOT = "import sys; sys.path.append(sys.argv[1]); from fairlead.serve.workers.zygote import main; main()"
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "XDG_CACHE_HOME")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# A thread that ONNX Runtime starts to report how it is used could not be copied, and has nothing to report to.
_SET = {"PYTHONUTF8": "1", "ORT_DISABLE_TELEMETRY": "1", **dict.fromkeys(_THREADS, "1")}
_END_S = 2.0


class ZygoteListener(Protocol):
    """Hears what a zygote says, in the event loop."""

    def zygote_said(self, zygote: ZygoteProcess, message: Message, handles: list[int]) -> None:
        """A message came, with descriptors that are the listener's to close."""
        ...

    def zygote_ended(self, zygote: ZygoteProcess) -> None:
        """It is gone, and so are its workers. Called once, unless it was asked to end."""
        ...


class ZygoteProcess:
    """One zygote; starts at once. `pulse` is the page that it beats on. Raises OSError where there are no more descriptors."""

    def __init__(self, job: ZygoteJob, listener: ZygoteListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener, self._loop = listener, loop
        with ExitStack() as undo:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(theirs.close)
            undo.callback(self._control.close)
            self.pulse, page = Pulse.create()
            undo.callback(os.close, page)
            job_file = _job_file(job)
            undo.callback(os.close, job_file)
            self._keeper = _Keeper(job_file, theirs, page)
            undo.pop_all()
        self._control.setblocking(False)
        self._is_open = True
        loop.add_reader(self._control.fileno(), self._heard)
        self._keeper.begin()

    def fork(self, line: socket.socket, page: int) -> None:
        """Ask for a worker at the other end of `line`, which beats on `page`; its `Forked` comes later."""
        try:
            socket.send_fds(self._control, [FORK], [line.fileno(), page])
        except OSError:  # it is gone, or takes nothing any more
            self.lose()

    def end(self) -> None:
        """Let it end, with its workers; returns at once. Idempotent."""
        if self._is_open:
            self._is_open = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self.pulse.close()
            self._keeper.end_soon()

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has started."""
        return self._keeper.pid

    def lose(self) -> None:
        """Kill it, with its workers, and tell the listener."""
        if self._is_open:
            self.end()
            self._keeper.kill()
            self._listener.zygote_ended(self)

    def _heard(self) -> None:
        handles: list[int] = []
        try:
            data, handles, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 4)
            message = decode_message(data) if data else None
        except BlockingIOError:
            return
        except (OSError, CorruptError):
            message = None
        if message is None:
            for handle in handles:
                os.close(handle)
            self.lose()
        else:
            self._listener.zygote_said(self, message, handles)


class _Keeper(threading.Thread):
    """The thread that the process belongs to. `end_soon` and `kill` may be called from any thread, at any time."""

    def __init__(self, job_file: int, control: socket.socket, page: int) -> None:
        super().__init__(name="fairlead-zygote", daemon=True)
        self._job_file, self._control, self._page = job_file, control, page
        self._bell: int | None = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._grace_s = _END_S
        self.pid = 0

    def begin(self) -> None:
        """Start the thread, and with it the process."""
        try:
            self.start()
        except RuntimeError:  # no more threads
            self._close_bell()
            self._let_go()

    def run(self) -> None:
        """Start the process and reap it; where it cannot be started, the front finds its socket closed."""
        try:
            process = self._start()
        except (OSError, subprocess.SubprocessError):
            self._close_bell()
            return
        finally:
            self._let_go()
        self.pid = process.pid
        try:
            self._wait(process)
        finally:
            self._close_bell()

    def _let_go(self) -> None:
        """Close what the process has inherited, or would have: the front then finds the socket closed where there is none."""
        self._control.close()
        os.close(self._job_file)
        os.close(self._page)

    def end_soon(self) -> None:
        """Its socket is closed: give it a moment to end its workers, then kill it."""
        with self._lock:
            if self._bell is not None:
                os.eventfd_write(self._bell, 1)

    def kill(self) -> None:
        """Kill it now."""
        self._grace_s = 0.0
        self.end_soon()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET
        inherited = (self._control.fileno(), self._job_file, self._page)
        words = [str(Path(errors.__file__).parent.parent), *map(str, inherited)]
        return subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", "-c", _BOOT, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=inherited,
            env=environment,
            cwd="/",
            start_new_session=True,
        )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        handle = os.pidfd_open(process.pid)
        try:
            end, both = select.poll(), select.poll()
            end.register(handle, select.POLLIN)
            both.register(handle, select.POLLIN)
            both.register(self._bell or 0, select.POLLIN)
            both.poll()
            if not end.poll(self._grace_s * 1e3):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            process.wait()
        finally:
            os.close(handle)

    def _close_bell(self) -> None:
        with self._lock:
            if self._bell is not None:
                os.close(self._bell)
                self._bell = None


def _job_file(job: ZygoteJob) -> int:
    """Return a descriptor of a file in memory that holds the job."""
    descriptor = os.memfd_create("fairlead-job", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(encode(job))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
