"""Prepares a load: requests as bytes, asked once each, so that there are right answers to compare with.

Takes a server and rows; gives a LoadJob. Raises UnavailableError where the server does not answer, RequestError where it refuses a request,
DataError where an answer is not the expected one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.dtype import DType
from fairlead.core.interface import Tensors
from fairlead.errors import DataError, RequestError, UnavailableError
from fairlead.probe.grpc_messages import infer_request
from fairlead.probe.http_client import HttpClient, why
from fairlead.probe.load.answers import read_outputs
from fairlead.probe.load.grpc_link import GrpcLink
from fairlead.probe.load.http_link import HttpLink
from fairlead.probe.load.link import Link, Waiting
from fairlead.probe.load.work import run_loop
from fairlead.probe.model_facts import ModelFacts
from fairlead.probe.tensors import are_alike, binary_request, json_tensors

Answer = tuple[int, bytes, bytes]


@dataclass(frozen=True)
class Place:
    """Where to send: a host and a port, and by which protocol and form of tensors."""

    host: str
    port: int
    is_secure: bool
    protocol: str
    payload: str


def make_request(model: ModelFacts, inputs: Tensors, client: HttpClient, place: Place, version: str = "") -> bytes:
    """Return one request as it goes over the wire (for gRPC: the message)."""
    if place.protocol == "grpc":
        return bytes(infer_request(model.name, inputs, version=version).SerializeToString())
    path = f"{client.base}{model.path}{f'/versions/{version}' if version else ''}/infer"
    if place.payload == "binary":
        body, size = binary_request(inputs, {"parameters": {"binary_data_output": True}})
        kind = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {size}"
    else:
        if any(array.dtype == DType.FP16.numpy for array in inputs.values()):
            raise RequestError("FP16 tensors have no JSON form.", hint="Send them with --payload binary.")
        body, kind = json.dumps({"inputs": json_tensors(inputs)}).encode(), "Content-Type: application/json"
    host = f"[{place.host}]" if ":" in place.host else place.host
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{place.port}\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def first_answers(
    place: Place, requests: Sequence[bytes], expected: Sequence[Tensors] = (), *, timeout_s: float = 30.0
) -> tuple[Answer, ...]:
    """Ask every request once; return (status, headers in lower case, body) of each. The module says what raises."""
    answers = run_loop(_ask_each(place, requests, timeout_s))
    for number, (status, head, body) in enumerate(answers):
        if status != 200:
            what = f"gRPC status {status - 1000}" if status >= 1000 else f"{status} {body[:300].decode('utf-8', 'replace')}"
            raise RequestError(f"The server refuses request {number + 1} of the load: {what}", hint="Does the data fit the model?")
        if expected and not are_alike(expected[number], read_outputs(place.protocol, head, body)):
            raise DataError(f"The server's answer to request {number + 1} is not the expected one.", hint="Compare it with --expect.")
    return tuple(answers)


class _Asking:
    """A Driver for one request after the other."""

    def __init__(self) -> None:
        self.link: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def opened(self, link: Link) -> None:
        """Note it."""
        self.link.set_result(link)

    def answered(self, link: Link, number: int, intended: float, status: int, head: bytes, body: bytes) -> None:
        """Note it."""
        del link, number, intended
        if not self.answer.done():
            self.answer.set_result((status, head, body))

    def lost(self, link: Link, waiting: Sequence[Waiting], reason: str) -> None:
        """Without an answer, that is the answer."""
        del link, waiting
        if not self.answer.done():
            self.answer.set_exception(UnavailableError(f"The server gave no answer: {reason}."))
            self.answer.exception()  # whether or not somebody still waits for it


async def _ask_each(place: Place, requests: Sequence[bytes], timeout_s: float) -> list[Answer]:
    """Each on a connection of its own."""
    answers = []
    secure = ssl.create_default_context() if place.is_secure else None
    for number in range(len(requests)):
        asking = _Asking()

        def make_link(asking: _Asking = asking) -> asyncio.Protocol:
            if place.protocol == "grpc":
                return GrpcLink(asking, requests, place.host, place.port, 1)
            return HttpLink(asking, requests)

        try:
            transport, _ = await asyncio.get_running_loop().create_connection(make_link, place.host, place.port, ssl=secure)
        except OSError as error:
            raise UnavailableError(
                f"Nothing answers at {place.host}, port {place.port} ({why(error)}).", hint="Is the server running?"
            ) from None
        try:
            (await asking.link).send(number, 0.0)
            answers.append(await asyncio.wait_for(asking.answer, timeout_s))
        except TimeoutError:
            raise UnavailableError(f"The server did not answer within {timeout_s:g} s.") from None
        finally:
            transport.abort()
            await asyncio.sleep(0)
    return answers
