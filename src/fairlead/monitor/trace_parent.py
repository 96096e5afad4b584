"""W3C Trace Context: which trace a request belongs to, by what its caller sent.

Takes `Observation.trace` (traceparent, and behind a space tracestate); gives a TraceParent, or None for what the recommendation says to
ignore. Pure. www.w3.org/TR/trace-context, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_STATE_MEMBER = re.compile(_STATE_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_STATE_MEMBERS = 32


@dataclass(frozen=True)
class TraceParent:
    """The caller's span: 16 and 8 bytes, whether the caller records it, and vendors' own state to hand on."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool
    state: str = ""


def read_parent(text: str) -> TraceParent | None:
    """Return what `text` says; a tracestate that is not well-formed is left out, a traceparent that is not makes None."""
    parent, _, state = text.partition(" ")
    match = _PARENT.fullmatch(parent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(bytes.fromhex(trace_id), bytes.fromhex(span_id), bool(int(flags, 16) & 1), _checked_state(state))


def _checked_state(text: str) -> str:
    """Return a tracestate in its shortest form, or "" for one that is malformed."""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    keys = [member.partition("=")[0] for member in members]
    if len(members) > _STATE_MEMBERS or len(set(keys)) < len(keys) or not all(map(_STATE_MEMBER.fullmatch, members)):
        return ""
    return ",".join(members)
