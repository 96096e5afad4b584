"""A call's messages: whole requests out of what came, answers in order to what goes out.

Takes a stream's data from the session; gives whole messages to the gate's service and its replies to `Outbound`. A message's size is
checked as soon as it is known, and the room for unfinished ones is the gate's to give. A caller's mistake is answered with a status. Law:
the replies to one call come in the order of its messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fairlead.errors import DeadlineError, FairleadError, OverloadedError, RequestError, UnavailableError
from fairlead.serve.grpc import frames
from fairlead.serve.grpc.calls import Call, Kind, Message
from fairlead.serve.grpc.head import field
from fairlead.serve.grpc.outbound import Outbound
from fairlead.serve.grpc.status import OK_TRAILERS, Code, Failure, failure_of, trailers
from fairlead.serve.grpc.stream import PREFIX_BYTES, Item, Stream, check_size, is_complete, take_message
from fairlead.serve.http.eager import start

if TYPE_CHECKING:
    from fairlead.serve.grpc.gate import Gate

_FOREVER = float("inf")
_STATUS_200 = b"\x88"  # RFC 7541, appendix A, entry 8
_CONTENT_TYPE = field(b"content-type", b"application/grpc")
_HEAD_START = _STATUS_200 + _CONTENT_TYPE + field(b"x-request-id", b"")[:-1]
_ENCODINGS = field(b"grpc-accept-encoding", b"identity,deflate,gzip")


class Exchange:
    """`forget` is told of streams that are over."""

    def __init__(self, gate: Gate, out: Outbound, forget: Callable[[Stream], None]) -> None:
        self._gate = gate
        self._limits = gate.limits
        self._out = out
        self._forget = forget

    def open(self, stream: Stream) -> None:
        """A call begins: find what it asks for, or say at once that there is no such thing."""
        head = stream.head
        if head.http_status != 200:
            self._send_last(stream, field(b":status", b"%d" % head.http_status) + field(b"content-type", b"text/plain"))
            return
        method = self._gate.methods.get(head.path)
        request_id = head.request_id or self._gate.next_request_id()
        if method is None:
            self._fail(stream, Failure(Code.UNIMPLEMENTED, "There is no such method here."), request_id)
            return
        if head.mistake:
            self._fail(stream, Failure(Code.INVALID_ARGUMENT, head.mistake), request_id)
            return
        deadline = _FOREVER if head.timeout_s < 0.0 else time.monotonic() + head.timeout_s
        stream.call = Call(method, request_id, head.encoding, head.trace, deadline, head.pin, head.metadata)
        if method.kind is Kind.EACH:
            stream.deadline = _FOREVER
        if stream.is_ended:
            self.take(stream, b"")

    def take(self, stream: Stream, data: bytes) -> None:
        """Some of a call's data has come; `stream.is_ended` says whether it was the last."""
        try:
            if stream.call.method.kind is Kind.EACH:
                self._buffer(stream, data)
                self._take_each(stream)
                self._refill(stream)
            elif stream.is_ended and not stream.buffer:  # most calls: one frame has it all
                self._begin(stream, _whole(data, stream.call.method.limit_bytes))
            else:
                self._buffer(stream, data)
                self._refill(stream)
                if stream.is_ended:
                    self._begin(stream, _whole(stream.buffer, stream.call.method.limit_bytes))
        except FairleadError as error:
            self._fail(stream, failure_of(error), stream.call.request_id)

    def go_on(self, stream: Stream) -> None:
        """The peer has taken the answers that it was sent: look at its next messages."""
        if not stream.is_gone:
            self.take(stream, b"")

    def expire(self, stream: Stream, text: str) -> None:
        """The time for a message, or for the answer, has passed."""
        self._fail(stream, failure_of(DeadlineError(text)), stream.call.request_id)

    def end_quiet(self, stream: Stream) -> None:
        """End a call of many messages between two of them: the server stops."""
        if stream.call.method.kind is Kind.EACH and not (stream.items or stream.buffer or stream.outgoing):
            self._fail(stream, failure_of(UnavailableError("The server is stopping.")), stream.call.request_id)

    def release(self, stream: Stream) -> None:
        """The stream is gone: give back what was kept for it."""
        stream.is_gone = True
        if stream.task is not None or stream.items or stream.buffer or stream.outgoing:
            stream.cancel()
        if stream.reserved:
            self._gate.release(stream.reserved)
            stream.reserved = 0

    def _buffer(self, stream: Stream, data: bytes) -> None:
        """Keep an unfinished message, if there is room; what it says of its size is looked at as soon as it is there."""
        if data:
            if not self._gate.reserve(len(data)):
                raise OverloadedError("The server is receiving too much at once.", hint="Ask again later.")
            stream.reserved += len(data)
            stream.buffer += data
        check_size(stream.buffer, stream.call.method.limit_bytes, is_only=stream.call.method.kind is not Kind.EACH)

    def _refill(self, stream: Stream) -> None:
        """Let the peer send more, unless a whole message waits for its turn already."""
        room = self._limits.stream_window_bytes
        if stream.receive_window < room >> 1 and not (stream.is_ended or stream.is_gone or is_complete(stream.buffer)):
            self._out.send(frames.window_update(stream.id, room - stream.receive_window))
            stream.receive_window = room

    # Calls with one request.

    def _begin(self, stream: Stream, message: Message) -> None:
        """The request is whole."""
        is_watch = stream.call.method.watch is not None
        task = start(self._watch(stream, message) if is_watch else self._answer(stream, message))
        if not stream.is_gone:
            stream.task = task

    async def _answer(self, stream: Stream, message: Message) -> None:
        reply = await self._gate.answer(stream.call, message)
        stream.task = None
        if stream.is_gone:
            return
        if isinstance(reply, Failure):
            self._fail(stream, reply, stream.call.request_id)
        else:
            self._gate.code_counts[Code.OK] += 1
            self._out.reply(stream, _answer_head(stream.call.request_id), reply)

    async def _watch(self, stream: Stream, message: Message) -> None:
        async for reply in self._gate.watch(stream.call, message):
            if stream.is_gone:
                return
            if isinstance(reply, Failure):
                self._fail(stream, reply, stream.call.request_id)
                return
            self._out.begin(stream, _answer_head(stream.call.request_id))
            self._out.message(stream, reply)

    # Calls with many requests, each with its answer.

    def _take_each(self, stream: Stream) -> None:
        """Begin as many messages as may be under way at once; the others wait in the buffer."""
        limit = stream.call.method.limit_bytes
        self._flush_items(stream)
        while not (stream.is_gone or len(stream.items) >= self._limits.item_count):
            if stream.outgoing:
                stream.is_held = True
                break
            check_size(stream.buffer, limit, is_only=False)
            if not is_complete(stream.buffer):
                break
            self._begin_item(stream, take_message(stream.buffer))
            self._flush_items(stream)
        if not stream.buffer or is_complete(stream.buffer):
            stream.deadline = _FOREVER  # between messages a caller may take its time
        elif stream.deadline == _FOREVER and not stream.is_ended:
            stream.deadline = self._gate.swept_at + self._limits.body_deadline_s

    def _begin_item(self, stream: Stream, message: Message) -> None:
        size = PREFIX_BYTES + len(message.content)
        del stream.buffer[:size]
        self._gate.release(size)
        stream.reserved -= size
        stream.deadline = _FOREVER
        item = Item()
        stream.items.append(item)
        task = start(self._answer_item(stream, item, message))
        if item.reply is None:
            item.task = task

    async def _answer_item(self, stream: Stream, item: Item, message: Message) -> None:
        reply = await self._gate.answer(stream.call, message)
        if stream.is_gone:
            return
        if isinstance(reply, Failure):
            self._fail(stream, reply, stream.call.request_id)
            return
        item.reply = reply
        if item.task is not None:
            self.take(stream, b"")

    def _flush_items(self, stream: Stream) -> None:
        """Send what is answered, as far as nothing before it is open; end the call when all is."""
        while stream.items and (reply := stream.items[0].reply) is not None:
            stream.items.popleft()
            self._out.begin(stream, _answer_head(stream.call.request_id))
            self._out.message(stream, reply)
        if stream.is_ended and not stream.items and not stream.is_gone:
            if is_complete(stream.buffer):
                return
            if stream.buffer:
                raise RequestError("The last message is cut off.")
            self._out.begin(stream, _answer_head(stream.call.request_id))
            self._gate.code_counts[Code.OK] += 1
            self._out.finish(stream, OK_TRAILERS)

    # Ends.

    def _fail(self, stream: Stream, failure: Failure, request_id: str) -> None:
        self._gate.failed(failure, stream.head.path, request_id)
        ending = trailers(failure)
        if failure.code is Code.UNIMPLEMENTED:
            ending += _ENCODINGS
        if not stream.is_begun:
            ending = _answer_head(request_id) + ending
        elif stream.outgoing:
            self._out.drop(stream)  # what waits belongs to answers before; the call has failed all the same
            stream.outgoing.clear()
        self._send_last(stream, ending)

    def _send_last(self, stream: Stream, block: bytes) -> None:
        self._out.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, block))
        if not stream.is_ended:
            self._out.send(frames.rst_stream(stream.id, frames.NO_ERROR))  # the rest is not needed (8.1)
        self._forget(stream)


def _answer_head(request_id: str) -> bytes:
    """An identity has at most 128 bytes; most have fewer than 127, whose length is one byte."""
    given = request_id.encode("ascii")
    if len(given) < 127:
        return b"%b%c%b" % (_HEAD_START, len(given), given)
    return _STATUS_200 + _CONTENT_TYPE + field(b"x-request-id", given)


def _whole(data: bytes | bytearray, limit_bytes: int) -> Message:
    """Return the one message of a call that has one."""
    size = len(data) - PREFIX_BYTES
    if 0 <= size <= limit_bytes and data[0] <= 1 and int.from_bytes(data[1:PREFIX_BYTES], "big") == size:
        return Message(bytes(data[PREFIX_BYTES:]), data[0] == 1)
    check_size(data, limit_bytes, is_only=True)
    raise RequestError("The call ended before its message was complete." if data else "The call has no message.")
