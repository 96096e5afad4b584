"""What a sandboxed worker says, read with distrust: answers, errors of ours by class, failures by kind, and how it ended.

Takes bytes and plain data that came out of a worker; gives plain data or the error that it stands for. Raises FairleadErrors whose texts
are bounded and printable; never believes a class, a size or a word.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any

from fairlead import errors
from fairlead.core.interface import shorten
from fairlead.core.ports import SandboxLimits
from fairlead.errors import FairleadError, MissingExtraError, NoSpaceError, SandboxError

LIMIT_HINT = "If you trust the file, give the sandbox larger limits (FAIRLEAD_SANDBOX_*)."
BROKEN_HINT = "The file is most likely damaged, or made to do harm; save the model again from its source."
_MESSAGE_CHARS, _HINT_CHARS, _NOTE_CHARS = 2000, 1000, 8000


@dataclass(frozen=True)
class End:
    """How a worker ended, as its supervisor saw it: exit status (negative: a signal), processor seconds, most resident bytes."""

    code: int
    cpu_s: float
    peak_bytes: int


def read_end(status: bytes) -> End | None:
    """Return what the last line of the supervisor says; None where it did not come to say it."""
    try:
        said = json.loads(status.splitlines()[-1])
        return End(int(said["code"]), float(said["cpu_s"]), int(said["peak_bytes"]))
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def how_it_ended(end: End | None, limits: SandboxLimits, *, has_answered: bool) -> tuple[str, str]:
    """Return what is wrong with that end and what to do ("" and "" for a good one); the sentence lacks its subject."""
    if end is None:
        return "died and left no report", "See `fairlead doctor`."
    if end.code in (-signal.SIGKILL, -signal.SIGXCPU) and limits.cpu_s and end.cpu_s >= limits.cpu_s - 0.5:
        return f"used more than {limits.cpu_s} s of processor time and was stopped", LIMIT_HINT
    if end.code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does when memory runs out", LIMIT_HINT
    if end.code < 0:
        return f"crashed ({_signal_name(-end.code)})", BROKEN_HINT
    if end.code > 0 or not has_answered:
        return f"ended without an answer (exit code {end.code})", BROKEN_HINT
    return "", ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def raise_what_it_says(answer: dict[str, Any], limits: SandboxLimits, who: str) -> None:
    """Raise what an answer stands for that is not a result; return where it is one. `who` begins the sentences."""
    if "refused" in answer:
        names = answer["refused"] if isinstance(answer["refused"], list) else ["?"]
        missing = ", ".join(shorten(str(name)) for name in names)
        raise SandboxError(f"Strict sandboxing is on and this machine lacks: {missing}.", hint="See `fairlead doctor` for the reasons.")
    if "error" in answer:
        raise rebuild(answer["error"], who)
    if "failure" in answer:
        raise _failure(answer["failure"], limits, who)


def is_out_of_memory(answer: dict[str, Any]) -> bool:
    """Whether the worker says that its memory limit was met: nothing in it can be relied on from then on."""
    failure = answer.get("failure")
    return isinstance(failure, dict) and failure.get("kind") == "MemoryError"


def is_sound(answer: Any) -> bool:
    """Whether it says what a worker of ours says about an error: a class of ours, or a failure."""
    if not isinstance(answer, dict):
        return False
    return _class_of(answer["error"]) is not None if "error" in answer else isinstance(answer.get("failure"), dict)


def _class_of(plain: Any) -> type[FairleadError] | None:
    kind = getattr(errors, str(plain.get("class")), None) if isinstance(plain, dict) else None
    return kind if isinstance(kind, type) and issubclass(kind, FairleadError) else None


def rebuild(plain: Any, who: str) -> FairleadError:
    """Return the error that was raised inside; its texts are foreign and therefore bounded and printable."""
    kind = _class_of(plain)
    if kind is None:
        return SandboxError(f"{who} answered nonsense.", hint=BROKEN_HINT)
    error = kind.__new__(kind)  # __init__ of some classes takes other things
    FairleadError.__init__(error, shorten(str(plain.get("message")), _MESSAGE_CHARS), hint=shorten(str(plain.get("hint")), _HINT_CHARS))
    if isinstance(error, MissingExtraError):
        error.extra = shorten(str(plain.get("extra")))
    return error


def _failure(plain: Any, limits: SandboxLimits, who: str) -> FairleadError:
    details = plain if isinstance(plain, dict) else {}
    kind = shorten(str(details.get("kind")))
    if kind == "MemoryError":
        return SandboxError(f"{who} ran out of memory (limit {limits.memory_bytes} bytes).", hint=LIMIT_HINT)
    if kind == "file-limit":
        return SandboxError(f"{who} wrote more than {limits.file_bytes} bytes and was stopped.", hint=LIMIT_HINT)
    if kind == "full":
        return NoSpaceError(
            f"No space is left for the files of {who[0].lower()}{who[1:]}.", hint="Free some space, or set FAIRLEAD_HOME to a larger disk."
        )
    said = shorten(str(details.get("message")), 300)
    error = SandboxError(f"{who} failed: {kind}: {said}" if said else f"{who} failed: {kind}.", hint=BROKEN_HINT)
    error.add_note(shorten(str(details.get("trace")), _NOTE_CHARS))  # seen in a developer's trace only
    return error
