"""Spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf, compressed.

Takes sampled requests; posts their spans to one endpoint and returns how many requests the collector took. Raises OSError where it took
none, after it was asked again as the specification says (opentelemetry.io/docs/specs/otlp). It runs in the thread of a pipe, reads no more
than a bounded answer, follows no redirects, and never logs the headers, which may hold a key.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import random
import socket
import threading
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # no stubs are published with it
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from fairlead.monitor.otlp_target import OtlpTarget, read_endpoint
from fairlead.monitor.spans import export_request
from fairlead.monitor.traces import Traced

_AGAIN = frozenset({0, 429, 502, 503, 504})  # 0: no answer
_ATTEMPTS = 4
_BACKOFF_S = 1.0
_LONGEST_WAIT_S = 30.0
_ANSWER_BYTES = 65_536


class _Posted(NamedTuple):
    """What came of a post; `problem` says why where `status` is 0: there was no answer."""

    status: int
    body: bytes = b""
    retry_after_s: float = 0.0
    problem: str = ""


class OtlpSink:
    """A TraceSink; raises SpecError for an endpoint that is no URL."""

    def __init__(self, target: OtlpTarget) -> None:
        self._target = target
        self._address = read_endpoint(target.endpoint)
        self._resource = {"service.name": target.service, "service.version": target.release, "service.instance.id": str(uuid.uuid4())}
        self._connection: http.client.HTTPConnection | None = None
        self._hurried = threading.Event()

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self._hurried.set()

    def close(self) -> None:
        """Cut off what still hangs: the thread that waits for the collector finds the connection ended."""
        connection = self._connection
        if connection is not None:
            if connection.sock is not None:
                with contextlib.suppress(OSError):  # the collector was faster
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def send(self, traced: Sequence[Traced]) -> int:
        """Post the spans of `traced`, again where the collector asks for that."""
        body = gzip.compress(export_request(traced, self._resource, self._target.release).SerializeToString(), compresslevel=1)
        wait_s, posted = _BACKOFF_S, _Posted(0)
        for attempt in range(_ATTEMPTS):
            posted = self._post(body)
            if 200 <= posted.status < 300:
                # It refuses spans one by one, and we count requests: no more requests than spans can have been refused.
                return max(len(traced) - _rejected_count(posted.body), 0)
            if posted.status not in _AGAIN or attempt + 1 == _ATTEMPTS:
                break
            pause_s = min(max(wait_s * random.uniform(0.8, 1.2), posted.retry_after_s), _LONGEST_WAIT_S)  # noqa: S311 - spreads load
            if self._hurried.wait(pause_s):
                break
            wait_s *= 2
        at = f"{self._address.host}:{self._address.port}{self._address.path.partition('?')[0]}"
        said = f"answers {posted.status}" if posted.status else f"does not answer ({posted.problem})"
        raise ConnectionError(f"the collector at {at} {said}")

    def _post(self, body: bytes) -> _Posted:
        """Post once."""
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", **self._target.headers}
        try:
            connection = self._connection or self._connect()
            connection.request("POST", self._address.path, body, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_BYTES)
            if not response.isclosed():  # there is more than we read
                self._disconnect()
            asked = response.headers.get("Retry-After", "")
            return _Posted(response.status, answer, float(asked) if asked.isdecimal() else 0.0)
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            said = (error.strerror if isinstance(error, OSError) else "") or str(error)
            return _Posted(0, problem=said or type(error).__name__)

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._address.is_secure else http.client.HTTPConnection
        self._connection = kind(self._address.host, self._address.port, timeout=self._target.timeout_s)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _rejected_count(body: bytes) -> int:
    try:
        return int(ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans)
    except DecodeError:
        return 0  # it said 2xx
