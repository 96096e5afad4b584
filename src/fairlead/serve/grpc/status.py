"""The one map from errors to gRPC status codes, and how a status is written. An error of ours never shows its text.

Texts are those that REST gives. Source of the codes: grpc.io/docs/guides/status-codes.
"""

from __future__ import annotations

import enum

import msgspec

from fairlead import errors
from fairlead.serve.grpc.head import field

_TEXT_LIMIT = 1024  # bytes of a message in a trailer; a client's own limit for headers is 8 KiB


class Code(enum.IntEnum):
    """The codes that this server gives."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


# A caller's mistakes.
CALLERS = frozenset(
    {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.UNIMPLEMENTED}
)

# The most special class that an error is an instance of decides.
_CODES: dict[type[errors.FairleadError], Code] = {
    errors.RequestError: Code.INVALID_ARGUMENT,
    errors.TooLargeError: Code.RESOURCE_EXHAUSTED,
    errors.UnsupportedError: Code.UNIMPLEMENTED,
    errors.NotFoundError: Code.NOT_FOUND,
    errors.ForbiddenError: Code.PERMISSION_DENIED,
    errors.ConflictError: Code.ABORTED,
    errors.StoreAwayError: Code.UNAVAILABLE,
    errors.NoSpaceError: Code.RESOURCE_EXHAUSTED,
    errors.ServingError: Code.UNAVAILABLE,
    errors.OverloadedError: Code.UNAVAILABLE,
    errors.UnavailableError: Code.UNAVAILABLE,
    errors.DeadlineError: Code.DEADLINE_EXCEEDED,
}


# What is no caller's business: where a store is, which disk is full.
_HIDDEN: dict[type, str] = {
    errors.NoSpaceError: "The server is out of space.",
    errors.StoreAwayError: "The registry cannot be reached now.",
}


class Failure(msgspec.Struct, frozen=True):
    """What a call that failed is told."""

    code: Code
    text: str
    retry_after_s: int = 0


def failure_of(error: Exception) -> Failure:
    """Return what is said of `error`; INTERNAL for what is not the client's doing and has no code of its own."""
    for kind in type(error).__mro__:
        code = _CODES.get(kind)
        if code is not None:
            text = _HIDDEN.get(kind, str(error))
            return Failure(code, text, error.retry_after_s if isinstance(error, errors.OverloadedError) else 0)
    return Failure(Code.INTERNAL, "The server failed to answer this request.")


def trailers(failure: Failure) -> bytes:
    """Return the header block that ends a call; the text is percent-encoded UTF-8, when to ask again is said as gRPC's retries read it."""
    block = field(b"grpc-status", b"%d" % failure.code)
    if failure.text:
        block += field(b"grpc-message", _quote(failure.text))
    if failure.retry_after_s:
        block += field(b"grpc-retry-pushback-ms", b"%d" % (failure.retry_after_s * 1000))
    return block


def _quote(text: str) -> bytes:
    quoted = bytearray()
    for byte in text.encode("utf-8", "replace")[:_TEXT_LIMIT]:
        if 0x20 <= byte < 0x7F and byte != 0x25:
            quoted.append(byte)
        else:
            quoted += b"%%%02X" % byte
    return bytes(quoted.strip())


OK_TRAILERS = trailers(Failure(Code.OK, ""))
