"""Explanations for a running server, made in processes of their own: whatever an explanation computes or reads, answers do not wait for it.

Takes a House; gives a serve.explaining.AnswerExplainer. A process is started with the first explanation, asks the model through the server,
and ends when nobody asked for a while, or with the server. Raises RequestError for a wish that makes no sense, what `explain_model`
raises, DeadlineError where a process does not answer in time (it is ended), UnavailableError where it ended by itself. Safe for several
threads.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead import errors
from fairlead.app.explain_wire import error_of, open_wire
from fairlead.app.wiring import House
from fairlead.core.interface import Tensors
from fairlead.core.ports import Engine
from fairlead.core.version import Version
from fairlead.errors import DeadlineError, FairleadError, UnavailableError
from fairlead.security.own_process import environment_without_secrets
from fairlead.security.sandbox_failures import describe_failure
from fairlead.stores.document import dump
from fairlead.stores.version_files import materialize

_BOOT = "import sys; sys.path.append(sys.argv[1]); from fairlead.app.explain_child import main; main()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_START_S = 60.0
_GRACE_S = 1.0  # beyond the budget, which the process looks at itself
_KEPT = 8  # versions whose files are known


class ServedExplainer:
    """Explains answers of versions of one registry."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._idle: list[ExplainProcess] = []
        self._all: set[ExplainProcess] = set()
        self._files: OrderedDict[str, dict[str, Path]] = OrderedDict()
        self._is_closed = False

    def prepare(self) -> None:
        """See that a process is there."""
        self._give_back(self._take())

    def explain(self, version: Version, engine: Engine, rows: Tensors, wish: Mapping[str, Any], budget_s: float) -> dict[str, Any]:
        """Return JSON values; see the port."""
        job = {
            "label": version.label,
            "digest": version.digest,
            "files": {name: str(path) for name, path in self._files_of(version).items()},
            "interface": dump(engine.interface).decode(),
            "wish": dict(wish),
            "budget_s": budget_s,
        }
        process = self._take()
        try:
            return process.explain(job, rows, engine, budget_s)
        finally:
            self._give_back(process)

    def close(self) -> None:
        """End all processes; what they work on fails. Idempotent."""
        with self._lock:
            self._is_closed = True
            everything, idle = tuple(self._all), tuple(self._idle)
            self._all.clear()
            self._idle.clear()
        for process in everything:
            process.end()
        for process in idle:  # whoever uses one sees that it has ended, and closes it
            process.close()

    def _take(self) -> ExplainProcess:
        """Return a process that nobody else uses."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise UnavailableError("The server is stopping.")
                process = self._idle.pop() if self._idle else ExplainProcess()
                self._all.add(process)
            try:
                if process.has_started():
                    return process
            except UnavailableError:
                self._forget(process)
                raise
            self._forget(process)

    def _give_back(self, process: ExplainProcess) -> None:
        with self._lock:
            if process.is_sound and not self._is_closed:
                self._idle.append(process)
                return
        process.close()
        self._forget(process)

    def _forget(self, process: ExplainProcess) -> None:
        with self._lock:
            self._all.discard(process)

    def _files_of(self, version: Version) -> dict[str, Path]:
        """Return the version's files; they are hashed once, and stay while it is loaded."""
        with self._lock:
            found = self._files.get(version.digest)
        if found is None or not all(path.exists() for path in found.values()):
            found = materialize(version, self._house.blobs, self._house.loaded)
        with self._lock:
            self._files[version.digest] = found
            self._files.move_to_end(version.digest)
            while len(self._files) > _KEPT:
                self._files.popitem(last=False)
        return found


class ExplainProcess:
    """One process; used by one thread at a time."""

    def __init__(self) -> None:
        self._has_started = self._has_failed = False
        try:
            self._wire, theirs = open_wire()
            with theirs:
                self.process = _started(theirs.fileno())
        except OSError as error:
            raise UnavailableError(f"No process that explains could be started: {error.strerror}.", hint="Ask again later.") from error

    def has_started(self) -> bool:
        """Wait until it can be asked; False where it could, and has ended since. Raises UnavailableError where it does not start."""
        if self._has_started:
            if not self.is_sound:
                self.close()
            return self.is_sound
        try:
            self._wire.receive(_START_S)
        except (EOFError, TimeoutError):
            self.close()
            raise UnavailableError("The process that explains did not start.", hint="See the server's log.") from None
        self._has_started = True
        return True

    @property
    def is_sound(self) -> bool:
        """Whether it can be asked again."""
        return not self._has_failed and self.process.poll() is None

    def explain(self, job: Mapping[str, Any], rows: Tensors, engine: Engine, budget_s: float) -> dict[str, Any]:
        """Return what the process says, asking `engine` for it meanwhile."""
        until = time.monotonic() + budget_s + _GRACE_S
        refused: FairleadError | None = None
        try:
            self._wire.send(job, rows)
            while True:
                words, tensors = self._wire.receive(until - time.monotonic())
                if "loading" in words:  # ended now, it would only begin anew with the next explanation
                    until = time.monotonic() + _START_S
                    continue
                if "ask" not in words:
                    break
                try:
                    answers = engine.run(tensors, words["ask"])
                except FairleadError as error:
                    refused = error
                    self._wire.send(describe_failure(error))
                else:
                    self._wire.send({}, answers)
        except EOFError:
            self.close()
            raise UnavailableError("The process that explains has ended.", hint="Ask again.") from None
        except TimeoutError:
            self.close()
            raise DeadlineError("There was no time to explain the answer.", hint="Ask for less, or use: fairlead explain.") from None
        except BaseException:  # it waits for an answer that will not come
            self.close()
            raise
        if "error" not in words:
            return dict(words["done"])
        said = error_of(words)
        raise refused if refused is not None and type(refused) is type(said) else said

    def end(self) -> None:
        """End the process; whoever uses it gets an UnavailableError."""
        self.process.kill()

    def close(self) -> None:
        """End it, and give back what it holds. Only for who uses it, or where nobody does. Idempotent."""
        self._has_failed = True
        self._wire.close()
        self.process.kill()
        self.process.wait()


def _started(descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process that has one end of a wire as `descriptor`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, str(Path(errors.__file__).parent.parent), str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env=environment_without_secrets() | dict.fromkeys(_THREADS, "1"),
        process_group=0,  # Ctrl-C at a terminal is for the server; in a session of its own, niceness would count for nothing (autogroup)
    )
