"""What a sandboxed worker tells its parent about an exception: ours by class, all others by kind. Plain data; loads no library."""

from __future__ import annotations

import errno
import traceback
from typing import Any

from fairlead.errors import FairleadError

NOTE_CHARS = 4000


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return {"error": ...} for an error of ours, {"failure": ...} for every other; `security.sandbox_answers` reads them."""
    if isinstance(error, FairleadError):
        plain = {"class": type(error).__name__, "message": error.message, "hint": error.hint, "extra": getattr(error, "extra", "")}
        return {"error": plain}
    if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        return _failure("full" if error.errno != errno.EFBIG else "file-limit", "", "")
    trace = "" if isinstance(error, MemoryError) else "".join(traceback.format_exception(error))[-NOTE_CHARS:]
    return _failure(type(error).__name__, str(error)[:NOTE_CHARS], trace)


def _failure(kind: str, message: str, trace: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "message": message, "trace": trace}}
