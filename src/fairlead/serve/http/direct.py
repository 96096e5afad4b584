"""Inference requests of the V2 protocol without a coroutine: most requests are these, and most of them wait for nothing but the engine.

Takes whole requests; gives what is in flight, which gives the reply to whoever asked for it. What a head says is read once for all requests
that repeat it. Raises nothing. What it leaves to the handlers' coroutines: other routes, encoded bodies, large ones, versions that sleep.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from fairlead.errors import FairleadError
from fairlead.serve.data_plane import Asked, DataPlane, InferResponse
from fairlead.serve.http.body import BodyForm, body_form, is_long, read_body
from fairlead.serve.http.eager import start
from fairlead.serve.http.encoding import WORTHWHILE_BYTES, encoded
from fairlead.serve.http.gate import Finish, Going
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Memo, Reply
from fairlead.serve.http.routes import Accepts, Router
from fairlead.serve.http.v2 import Reading, parse_version, read_request
from fairlead.serve.http.v2_answer import answer, answer_in_steps, is_long_answer
from fairlead.serve.steps import in_turn
from fairlead.serve.traffic_pins import Pin, read_pin

Refuse: TypeAlias = Callable[[HttpRequest, Exception], Reply]


class _Head(msgspec.Struct, frozen=True):
    """What the head of an inference request says."""

    name: str
    number: int | None
    pin: Pin | None
    form: BodyForm
    accept_encoding: bytes


class DirectInference:
    """`refuse` makes a reply of an error."""

    def __init__(self, plane: DataPlane, router: Router, limits: HttpLimits, refuse: Refuse) -> None:
        self.plane = plane
        self.refuse = refuse
        self._router = router
        self._limits = limits

    def begin(self, request: HttpRequest, finish: Finish) -> Going | None:
        """Begin with a request; returns None where it is not one that can be answered here."""
        memo = request.memo or Memo()
        head = memo.known
        if head is None:
            head = memo.known = self._read_head(request)
        if head is False or is_long(head.form, request.body):
            return None
        try:
            served = self.plane.table.resolve(head.name, head.number, "", head.pin)
            if served.is_asleep:
                return None
            body = read_body(head.form, request.body, self._limits)
            number = head.number if head.pin is None else served.version.number
            reading = read_request(request, body.text, body.binary, served, number)
            asked = self.plane.ask(reading.request, served)
        except Exception as error:  # noqa: BLE001 - the last resort, as for every request
            finish(request, self.refuse(request, error))
            return _ANSWERED
        exchange, ticket = Exchange(self, request, head.accept_encoding, finish, reading, asked), asked.ticket
        if ticket is None or ticket.is_settled:
            exchange.go_on()
        else:
            ticket.on_settled = exchange.go_on
        return exchange

    def _read_head(self, request: HttpRequest) -> _Head | bool:
        """Return what the head says, or False where it is not for here."""
        match = self._router.match(request.method, request.target)
        headers = request.headers
        if match.route is None or match.route.accepts is not Accepts.TENSORS or b"content-encoding" in headers:
            return False
        try:
            form, number = body_form(headers, Accepts.TENSORS), parse_version(match.parameters.get("version"))
            pin = read_pin(headers)
        except FairleadError:
            return False
        return _Head(match.parameters["name"], number, pin, form, headers.get(b"accept-encoding", b""))


class _Answered:
    """A request that was answered at once."""

    def cancel(self) -> None:
        """There is nothing to cancel."""


_ANSWERED = _Answered()


class Exchange(msgspec.Struct, eq=False):
    """An inference request in flight."""

    direct: DirectInference
    request: HttpRequest
    accept_encoding: bytes
    finish: Finish
    reading: Reading
    asked: Asked

    def cancel(self) -> None:
        """Give its place up; nothing where it is answered."""
        if self.asked.ticket is not None:
            self.asked.ticket.cancel()

    def go_on(self) -> None:
        """The engine has answered, or the request failed."""
        try:
            response = self.asked.response()
            if is_long_answer(response, self.reading.raw):
                start(self._finish_long(response))
                return
            reply = answer(response, self.reading.identity, self.reading.raw)
        except CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - the last resort, as for every request
            reply = self.direct.refuse(self.request, error)
        if len(reply.body) > WORTHWHILE_BYTES and self.accept_encoding:
            start(self._finish_encoded(reply))
        else:
            self.finish(self.request, reply)

    async def _finish_long(self, response: InferResponse) -> None:
        try:
            reply = await in_turn(answer_in_steps(response, self.reading.identity, self.reading.raw))
        except Exception as error:  # noqa: BLE001 - the last resort, as for every request
            reply = self.direct.refuse(self.request, error)
        await self._finish_encoded(reply)

    async def _finish_encoded(self, reply: Reply) -> None:
        self.finish(self.request, await encoded(reply, self.accept_encoding))
