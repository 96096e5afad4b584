"""A sandboxed process that stays: it opened a model once, and answers tensors with tensors until it is closed, dies or is too slow.

Takes a SandboxJob whose entry returns a function; gives a Resident (core.ports). The same layers hold as in a one-shot worker. Raises what
the entry or its function raises, DeadlineError, UnavailableError; a frame that does not fit ends the process. Never waits without an end,
never asks twice, leaves no process, no descriptor and no thread behind.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import SandboxJob
from fairlead.errors import CorruptError, DeadlineError, RequestError, SandboxError, TooLargeError, UnavailableError
from fairlead.security import sandbox_answers
from fairlead.security.resident_channel import Channel, GoneError, TooSlowError, open_channel
from fairlead.security.resident_frames import HEADER_BYTES, Buffer, Header, Kind, pack, read_header, read_places, unpack
from fairlead.security.resident_keeper import STOP_S, Keeper
from fairlead.security.sandbox_answers import BROKEN_HINT, LIMIT_HINT
from fairlead.security.sandbox_process import describe

_WHO = "The model's process"
_HINT = "The next request gets a new process."
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class _Error:
    """What came back is an error."""

    words: dict[str, Any]


class ResidentProcess:
    """One such process; see core.ports.Resident. Made by `start_resident`. `pid` is its process id, 0 where it is not known."""

    def __init__(self, keeper: Keeper, job: SandboxJob, channel: Channel) -> None:
        self._keeper, self._channel, self._limits = keeper, channel, job.limits
        self._turn = threading.Lock()
        self._sequence = 0
        self._is_open = True
        self._peak_bytes = 0

    @property
    def pid(self) -> int:
        """The process that holds the model."""
        return self._keeper.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._is_open and not self._keeper.stopped and not self._keeper.has_ended.is_set() and self._channel.is_connected

    @property
    def peak_memory_bytes(self) -> int:
        """The most resident memory that the process has had so far."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii") if self.is_alive else ""
            marks = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
            self._peak_bytes = max([self._peak_bytes, *marks])
        end = self._keeper.end
        return self._peak_bytes or (end.peak_bytes if end is not None else 0)

    def ask(self, inputs: Tensors, *, timeout_s: float) -> dict[str, Array]:
        """Return the answer to `inputs`; see core.ports.Resident. Raises RequestError for text that is no Unicode, TooLargeError."""
        deadline = time.monotonic() + timeout_s
        if not self._turn.acquire(timeout=max(timeout_s, 0.0)):
            raise DeadlineError(f"{_WHO} was busy with other requests for {timeout_s:g} s.")
        try:
            if not self.is_alive:
                raise self._gone()
            buffers = self._packed(inputs)
            return self._exchange(buffers, deadline, timeout_s)
        finally:
            self._turn.release()

    def open_model(self) -> None:
        """Wait until the entry has opened the model; raises what `core.ports.Sandbox.start` raises, and ends the process then."""
        try:
            answer = self._first_answer(time.monotonic() + self._limits.wall_s)
            sandbox_answers.raise_what_it_says(answer, self._limits, _WHO)
            self._keeper.has_pid.wait(STOP_S)  # said before the model was opened, read by another thread
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process and give everything back. Idempotent."""
        self._keeper.stop("was closed")
        with self._turn:
            if self._is_open:
                self._is_open = False
                self._channel.close()

    def _packed(self, inputs: Tensors) -> list[Buffer]:
        try:
            buffers = pack(Kind.ASK, self._sequence + 1, inputs)
        except UnicodeEncodeError:
            raise RequestError("A text in the request is not valid Unicode.", hint="Send UTF-8.") from None
        except ValueError as error:
            raise RequestError(f"The request is not all text: {error}.", hint="Send strings only.") from None
        size = sum(map(len, buffers))
        if size > self._limits.output_bytes:
            raise TooLargeError(f"The request takes {size} bytes, more than {self._limits.output_bytes}.", hint="Send fewer rows at once.")
        return buffers

    def _exchange(self, buffers: list[Buffer], deadline: float, timeout_s: float) -> dict[str, Array]:
        """Send one ask and read its answer. Whatever interrupts this ends the process: half an exchange cannot be taken up again."""
        self._sequence += 1
        try:
            self._channel.send(buffers, deadline)
            answer = self._receive(deadline)
        except TooSlowError:
            self._keeper.stop(f"took longer than {timeout_s:g} s and was ended")
            raise DeadlineError(f"{_WHO} took longer than {timeout_s:g} s and was ended.", hint=_HINT) from None
        except GoneError:
            raise self._gone() from None
        except CorruptError:
            self._keeper.stop("answered nonsense and was ended")
            raise self._gone() from None
        except BaseException:
            self._keeper.stop("was interrupted and ended")
            raise
        if isinstance(answer, dict):
            return answer
        if sandbox_answers.is_out_of_memory(answer.words):
            self._keeper.stop(f"ran out of memory (limit {self._limits.memory_bytes} bytes) and was ended")
            raise self._gone()
        sandbox_answers.raise_what_it_says(answer.words, self._limits, _WHO)
        raise SandboxError(f"{_WHO} failed without a reason.", hint=BROKEN_HINT)

    def _gone(self) -> UnavailableError:
        said, _ = self._how_it_ended()
        return UnavailableError(f"{_WHO} {said}.", hint=_HINT)

    def _how_it_ended(self) -> tuple[str, str]:
        if not self._keeper.has_ended.wait(STOP_S):  # it closed its end and lives on
            self._keeper.stop("went silent and was ended")
        if self._keeper.stopped:
            return self._keeper.stopped, LIMIT_HINT
        return sandbox_answers.how_it_ended(self._keeper.end, self._limits, has_answered=False)

    def _first_answer(self, deadline: float) -> dict[str, Any]:
        """Return the JSON object in the first line; raises SandboxError where there is none."""
        line = bytearray()
        try:
            while not line.endswith(b"\n") and len(line) <= self._limits.output_bytes:
                line += self._channel.read_some(_PIECE_BYTES, deadline)
            answer = json.loads(line)
        except TooSlowError:
            raise SandboxError(f"{_WHO} took longer than {self._limits.wall_s:g} s to start and was stopped.", hint=LIMIT_HINT) from None
        except GoneError:
            said, hint = self._how_it_ended()
            raise SandboxError(f"{_WHO} {said}.", hint=hint) from None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or not {"result", "error", "failure", "refused"} & answer.keys():
            raise SandboxError(f"{_WHO} answered nonsense.", hint=BROKEN_HINT)
        return answer

    def _receive(self, deadline: float) -> dict[str, Array] | _Error:
        data = self._channel.read_some(_PIECE_BYTES, deadline)
        while len(data) < HEADER_BYTES:
            data += self._channel.read_some(HEADER_BYTES - len(data), deadline)
        header = read_header(data, limit_bytes=self._limits.output_bytes)
        if header.sequence != self._sequence or header.kind is Kind.ASK:
            raise CorruptError("an answer to another ask")
        whole = HEADER_BYTES + header.head_bytes
        while len(data) < whole:
            data += self._channel.read_some(whole - len(data), deadline)
        head = data[HEADER_BYTES:whole]
        if header.kind is Kind.ERROR:
            return _error(head, header)
        places = read_places(head, header.body_bytes)
        return unpack(places, self._channel.read_body(memoryview(data)[whole:], header.body_bytes, deadline))


def _error(words: bytes, header: Header) -> _Error:
    try:
        answer = json.loads(words)
    except (ValueError, RecursionError):
        answer = None
    if not sandbox_answers.is_sound(answer) or header.body_bytes:
        raise CorruptError("an error that says nothing")
    return _Error(answer)


def start_resident(job: SandboxJob, import_paths: tuple[str, ...], *, is_strict: bool) -> ResidentProcess:
    """Start the process and return once its model is open; raises as `core.ports.Sandbox.start` does."""
    job.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    staying = replace(job, limits=replace(job.limits, cpu_s=0))
    try:
        channel, theirs = open_channel()
    except OSError as error:
        raise SandboxError(f"{_WHO} cannot be started: {error.strerror}.", hint="See `fairlead doctor`.") from None
    asks, answers = theirs
    keeper = Keeper(staying, describe(staying, import_paths, is_strict=is_strict, answer=answers, asks=asks), theirs)
    resident = ResidentProcess(keeper, staying, channel)
    keeper.begin()
    if keeper.refusal:
        resident.close()
        raise SandboxError(f"{_WHO} cannot be started: {keeper.refusal}.", hint="See `fairlead doctor`.")
    resident.open_model()
    return resident
