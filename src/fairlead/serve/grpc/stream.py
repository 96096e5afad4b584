"""One call on a connection: what has come of it, and what has still to go.

Pure state; `take_message` cuts the next message out of what has come, `check_size` raises RequestError and TooLargeError for one
that cannot be taken. Format: one byte
(compressed or not), four bytes of length, big-endian, and the message (github.com/grpc/grpc, PROTOCOL-HTTP2).
"""

from __future__ import annotations

from collections import deque

from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.grpc.calls import NO_CALL, Message
from fairlead.serve.grpc.head import Head
from fairlead.serve.http.eager import Started

PREFIX_BYTES = 5


class Item:
    """One message of a call with many: the reply, once there is one, goes out in the order in which the messages came."""

    __slots__ = ("reply", "task")

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self.task: Started | None = None


class Stream:
    """`deadline` is when the message that is coming has to be complete, in the loop's time; `is_ended` says that the peer sends no more,
    `is_gone` that nobody waits for an answer, `is_held` that messages wait until the peer has taken answers. `reserved` counts the bytes
    that the gate keeps room for.
    """

    __slots__ = (
        "buffer",
        "call",
        "deadline",
        "head",
        "id",
        "is_begun",
        "is_ended",
        "is_gone",
        "is_held",
        "items",
        "outgoing",
        "receive_window",
        "received",
        "reserved",
        "send_window",
        "task",
        "trailers",
    )

    def __init__(self, number: int, head: Head, receive_window: int, send_window: int, deadline: float) -> None:
        self.id = number
        self.head = head
        self.call = NO_CALL
        self.receive_window = receive_window
        self.send_window = send_window
        self.deadline = deadline
        self.buffer = bytearray()
        self.received = self.reserved = 0
        self.is_ended = self.is_begun = self.is_gone = self.is_held = False
        self.items: deque[Item] = deque()
        self.outgoing: deque[bytes | memoryview] = deque()
        self.trailers: bytes | None = None
        self.task: Started | None = None

    def cancel(self) -> None:
        """Stop what works for this call, if anything does; nobody waits for it any more."""
        self.is_gone = True
        self.buffer.clear()
        self.outgoing.clear()
        if self.task is not None:
            self.task.cancel()
        for item in self.items:
            if item.task is not None:
                item.task.cancel()
        self.items.clear()


def check_size(buffer: bytes | bytearray, limit_bytes: int, *, is_only: bool) -> None:
    """Raise TooLargeError as soon as the first message in `buffer` says that it is too large, RequestError where one too many follows."""
    if len(buffer) < PREFIX_BYTES:
        return
    if buffer[0] > 1:
        raise RequestError("What was sent is not a gRPC message.")
    size = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
    if size > limit_bytes:
        raise TooLargeError(f"The message has {size} bytes, more than {limit_bytes}, the limit.", hint="Send fewer rows at once.")
    if is_only and len(buffer) > PREFIX_BYTES + size:
        raise RequestError("The call has more than one message, this method takes one.")


def is_complete(buffer: bytes | bytearray) -> bool:
    """Whether the first message in `buffer` has come whole."""
    return len(buffer) >= PREFIX_BYTES + int.from_bytes(buffer[1:PREFIX_BYTES], "big")


def take_message(buffer: bytes | bytearray) -> Message:
    """Return the first message in `buffer`, which is complete and was checked."""
    end = PREFIX_BYTES + int.from_bytes(buffer[1:PREFIX_BYTES], "big")
    return Message(bytes(buffer[PREFIX_BYTES:end]), buffer[0] == 1)
