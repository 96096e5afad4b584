"""What the transport hands to the service: a call, its messages, and the methods that there are.

Every method names the permission that it needs, so that a later check stands in one place and a test can walk them all.
"""

from __future__ import annotations

import enum
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.serve.http.routes import Permission
from fairlead.serve.traffic_pins import Pin


class Kind(enum.Enum):
    """How many messages go which way."""

    UNARY = "unary"
    EACH = "each"  # many requests, each answered by itself, in order
    WATCH = "watch"  # one request, answers until the caller has enough


class Message(msgspec.Struct, frozen=True):
    """A message as it came."""

    content: bytes
    is_compressed: bool = False


class Call(msgspec.Struct, frozen=True):
    """What is known of a call before its messages: `deadline` in time.monotonic() seconds; `encoding` of compressed messages; `metadata` by
    lower-case name, and what it says of who is to answer.
    """

    method: Method
    request_id: str
    encoding: bytes = b""
    trace: str = ""
    deadline: float = math.inf
    pin: Pin | None = None
    metadata: dict[bytes, bytes] = {}


Answer = Callable[[Call, bytes], Coroutine[Any, Any, bytes]]
Watch = Callable[[Call, bytes], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Method:
    """`answer` takes a call and one of its messages, decompressed, and gives the reply's bytes; `watch` gives one reply after the other."""

    path: str
    permission: Permission
    answer: Answer
    watch: Watch | None = None
    kind: Kind = Kind.UNARY
    limit_bytes: int = 2**20


async def _nothing(call: Call, message: bytes) -> bytes:
    del call
    return message


NO_CALL = Call(Method("", Permission.HEALTH, _nothing), "")
