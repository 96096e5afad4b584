"""The protocol over gRPC by grpcio, with the messages of this room. Loaded only where gRPC is asked for.

Takes an address; gives messages, or the status that the server answered. Raises nothing for a status: a refusal is an answer. It never
registers messages in the common pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped] # no stubs are published with it

from fairlead.probe.grpc_messages import SERVICE, make, read

_LIMIT = 256 * 2**20


@dataclass(frozen=True)
class Call:
    """What was sent, in words, and what came: a message with status "OK", or another status and its text."""

    sent: str
    status: str
    text: str = ""
    message: Any = None

    @property
    def came(self) -> str:
        """The answer in a line."""
        shown = " ".join(str(self.message).split())[:300] if self.status == "OK" else self.text[:300]
        return f"{self.status} {shown}".strip()


class GrpcClient:
    """Speaks to one server."""

    def __init__(self, address: str, *, timeout_s: float = 10.0) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", _LIMIT)])
        self._timeout_s = timeout_s

    def call(self, method: str, request: Any, *, answer: str = "", timeout_s: float | None = None) -> Call:
        """Call `method`; its answer is a message `<method>Response` unless `answer` names another."""
        sent = f"{method} {' '.join(str(request).split())[:300]}"
        invoke = self._channel.unary_unary(f"{SERVICE}/{method}", request_serializer=_serialize)
        try:
            data = invoke(request, timeout=timeout_s or self._timeout_s, wait_for_ready=timeout_s is None)
        except grpc.RpcError as error:
            return Call(sent, error.code().name, str(error.details()))
        return Call(sent, "OK", message=read(answer or f"{method}Response", data))

    def cancel(self, method: str, request: Any) -> Call:
        """Call `method` and cancel at once; the answer may still win."""
        invoke = self._channel.unary_unary(f"{SERVICE}/{method}", request_serializer=_serialize)
        future = invoke.future(request, timeout=self._timeout_s)
        future.cancel()
        return Call(f"{method}, cancelled", future.code().name, str(future.details()))

    def stream(self, method: str, requests: Sequence[Any], *, answer: str) -> tuple[list[Any], str]:
        """Send all requests on one stream; return the answers and the status at its end."""
        invoke = self._channel.stream_stream(f"{SERVICE}/{method}", request_serializer=_serialize)

        def sending() -> Iterator[Any]:
            yield from requests

        found = []
        try:
            for data in invoke(sending(), timeout=self._timeout_s):
                found.append(read(answer, data))  # noqa: PERF401 - what came before an error counts
        except grpc.RpcError as error:
            return found, f"{error.code().name} {error.details()}"
        return found, "OK"

    def ask(self, name: str, /, **fields: Any) -> Call:
        """Call `name` with a message `<name>Request` of `fields`."""
        return self.call(name, make(f"{name}Request", **fields))

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()


def _serialize(request: Any) -> bytes:
    return bytes(request.SerializeToString())
