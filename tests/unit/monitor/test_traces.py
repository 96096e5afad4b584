import gzip
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from fairlead.errors import SpecError
from fairlead.monitor import otlp_sink
from fairlead.monitor.otlp_sink import OtlpSink
from fairlead.monitor.otlp_target import OtlpTarget, read_endpoint, read_headers
from fairlead.monitor.spans import spans_of
from fairlead.monitor.trace_parent import read_parent
from fairlead.monitor.traces import Tracer

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-01", f"00-{TRACE_ID}-{PARENT_ID}-00"


class Collector:
    """Use it as a context manager. `statuses` are the next answers' (200 when they are used up); `gate` holds every answer up."""

    def __init__(self, *, statuses=(), headers=None, rejected: int = 0, gate: threading.Event | None = None) -> None:
        self.statuses, self.headers, self.rejected, self.gate = list(statuses), headers or {}, rejected, gate
        self.requests: list[ExportTraceServiceRequest] = []
        self.seen_headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.attempt_count = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.answer(self)

            def log_message(self, *arguments) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.attempt_count += 1
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if self.gate is not None:
            self.gate.wait(30)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            assert handler.headers["Content-Type"] == "application/x-protobuf"
            assert handler.headers["Content-Encoding"] == "gzip"
            self.requests.append(ExportTraceServiceRequest.FromString(gzip.decompress(body)))
            self.seen_headers.append(dict(handler.headers))
            self.paths.append(handler.path)
        answer = ExportTraceServiceResponse()
        if self.rejected:
            answer.partial_success.rejected_spans = self.rejected
        text = answer.SerializeToString()
        handler.send_response(status)
        for name, value in {**self.headers, "Content-Length": str(len(text))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def spans(self) -> list:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *arguments) -> None:
        if self.gate is not None:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def tracer_for(collector: Collector, ratio: float = 1.0, headers=None) -> Tracer:
    sink = OtlpSink(OtlpTarget(collector.url, "fairlead", "1.2.3", headers or {}))
    return Tracer(sink, ratio, random.Random(1))


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(otlp_sink, "_BACKOFF_S", 0.01)


def attributes(span) -> dict:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def test_a_request_becomes_a_server_span_with_its_wait_and_its_computing_beneath(monitor) -> None:
    observation = monitor.seen(
        trace=f"{SAMPLED} vendor=state", queue_ms=2.0, compute_ms=3.0, batch_rows=8, request_id="r", rows=2, at=1000.0
    )
    with Collector() as collector:
        tracer = tracer_for(collector, headers={"api-key": "secret"})
        tracer.take([observation])
        tracer.close()
        server, queue, compute = collector.spans()
    assert (server.trace_id.hex(), server.parent_span_id.hex(), server.trace_state) == (TRACE_ID, PARENT_ID, "vendor=state")
    assert (server.kind, server.name, server.status.code) == (Span.SPAN_KIND_SERVER, "infer m", Status.STATUS_CODE_UNSET)
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (999_995_000_000, 1_000_000_000_000)
    assert attributes(server) == {
        "fairlead.model.name": "m",
        "fairlead.model.version": 1,
        "fairlead.request.id": "r",
        "fairlead.request.rows": 2,
        "fairlead.batch.rows": 8,
        "fairlead.cache.hit": False,
        "fairlead.transport": "http",
    }
    for child in (queue, compute):
        assert (child.trace_id, child.parent_span_id, child.trace_state) == (server.trace_id, server.span_id, "vendor=state")
    assert (queue.start_time_unix_nano, queue.end_time_unix_nano) == (999_995_000_000, 999_997_000_000)
    assert (compute.start_time_unix_nano, compute.end_time_unix_nano) == (999_997_000_000, 1_000_000_000_000)
    (resource,) = collector.requests[0].resource_spans
    said = attributes(resource.resource)
    assert (said["service.name"], said["service.version"]) == ("fairlead", "1.2.3")
    assert (collector.paths, collector.seen_headers[0]["api-key"]) == (["/v1/traces"], "secret")
    assert tracer.pipe.sent_count == 1


def test_a_request_without_a_caller_is_a_root_of_its_own(monitor) -> None:
    first, second = (next(spans_of(monitor.seen(), None)) for _ in range(2))
    assert first.trace_id != second.trace_id
    assert (len(first.trace_id), len(first.span_id), first.parent_span_id) == (16, 8, b"")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", Status.STATUS_CODE_UNSET),
        ("bad_request", Status.STATUS_CODE_UNSET),
        ("deadline", Status.STATUS_CODE_ERROR),
        ("internal", Status.STATUS_CODE_ERROR),
    ],
)
def test_our_failures_are_errors_and_the_callers_are_not(monitor, code, status) -> None:
    (span,) = spans_of(monitor.seen(error_code=code), None)
    assert span.status.code == status
    assert attributes(span).get("error.type", "") == code


def test_the_caller_decides_and_of_the_others_some_are_sampled(monitor) -> None:
    for ratio, expected in ((0.0, 10), (1.0, 110), (0.5, 60)):
        with Collector() as collector:
            tracer = tracer_for(collector, ratio)
            tracer.take([monitor.seen(trace=SAMPLED)] * 10 + [monitor.seen(trace=NOT_SAMPLED)] * 50 + [monitor.seen()] * 100)
            tracer.close()
            roots = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
            assert abs(len(roots) - expected) <= (20 if ratio == 0.5 else 0)
            assert sum(span.trace_id.hex() == TRACE_ID for span in roots) == 10


def test_no_more_than_a_hundred_a_second_are_drawn(monitor) -> None:
    with Collector() as collector:
        tracer = tracer_for(collector)
        tracer.take([monitor.seen(at=5.5)] * 1000 + [monitor.seen(at=6.5)] * 1000)
        tracer.close()
        assert len(collector.spans()) == 200
        assert tracer.pipe.dropped_count == 0


def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(monitor) -> None:
    with Collector(statuses=[503, 429]) as collector:
        tracer = tracer_for(collector)
        tracer.take([monitor.seen()])
        wait_until(lambda: tracer.pipe.sent_count == 1)
        assert collector.attempt_count == 3
        collector.statuses = [400]
        tracer.take([monitor.seen()])
        wait_until(lambda: tracer.pipe.dropped_count == 1)
        assert collector.attempt_count == 4
        tracer.close()


def test_what_a_collector_takes_only_in_part_is_counted(monitor) -> None:
    with Collector(rejected=2) as collector:
        tracer = tracer_for(collector)
        tracer.take([monitor.seen()] * 5)
        tracer.close()
        assert (tracer.pipe.sent_count, tracer.pipe.dropped_count) == (3, 2)


def test_a_collector_that_is_away_costs_traces_and_nothing_else(monitor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sink, said = OtlpSink(OtlpTarget(f"http://127.0.0.1:{taken.getsockname()[1]}", "fairlead", "1")), []
        tracer = Tracer(sink, 1.0, report=said.append)
        for count in (7, 14):
            tracer.take([monitor.seen()] * 7)
            wait_until(lambda count=count: tracer.pipe.dropped_count == count)
        tracer.close()
    assert len(said) == 1
    assert said[0].startswith(
        f"Traces cannot be sent: the collector at 127.0.0.1:{sink._address.port}/v1/traces does not answer (Connection"
    )


def test_a_collector_that_refuses_is_said_with_its_answer_and_once_more_when_it_takes_spans_again(monitor) -> None:
    said = []
    with Collector(statuses=[401]) as collector:
        tracer = Tracer(OtlpSink(OtlpTarget(collector.url, "fairlead", "1")), 1.0, report=said.append)
        for count in (1, 2):
            tracer.take([monitor.seen()])
            wait_until(lambda count=count: tracer.pipe.dropped_count + tracer.pipe.sent_count == count)
        tracer.close()
    assert "answers 401" in said[0]
    assert said[1:] == ["Traces are sent again."]


def test_a_collector_that_hangs_holds_nobody_up_and_the_buffer_is_bounded(monitor) -> None:
    with Collector(gate=threading.Event()) as collector:
        tracer = tracer_for(collector)
        tracer.take([monitor.seen(trace=SAMPLED)])
        wait_until(lambda: collector.attempt_count == 1)
        began = time.perf_counter()
        for _ in range(100):
            tracer.take([monitor.seen(trace=SAMPLED)] * 100)
        assert tracer.pipe.dropped_count == 10_000 - 4096
        tracer.close()
        assert time.perf_counter() - began < 10  # and the collector hangs for 30


def test_a_collector_that_answers_nonsense_is_survived(monitor) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            for reply in (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xff\xff"):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        tracer = Tracer(OtlpSink(OtlpTarget(f"http://127.0.0.1:{listener.getsockname()[1]}", "fairlead", "1")), 1.0)
        tracer.take([monitor.seen()])
        wait_until(lambda: tracer.pipe.sent_count == 1)
        thread.join()
        tracer.close()


def wait_until(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://collector:4318", ("collector", 4318, "/v1/traces", False)),
        ("https://collector", ("collector", 443, "/v1/traces", True)),
        ("http://[::1]:1/otlp/v1/traces?x=1", ("::1", 1, "/otlp/v1/traces?x=1", False)),
    ],
)
def test_an_endpoint_is_a_url(url, expected) -> None:
    address = read_endpoint(url)
    assert (address.host, address.port, address.path, address.is_secure) == expected


@pytest.mark.parametrize(
    "url", ["collector:4318", "grpc://collector", "http://", "http://a:b", "http://u:p@host", "http://a:99999", "http://[::1"]
)
def test_what_is_no_url_is_refused(url) -> None:
    with pytest.raises(SpecError, match="otlp_endpoint"):
        read_endpoint(url)


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    assert read_headers(" api-key=a%2Cb=c , x=,") == {"api-key": "a,b=c", "x": ""}
    assert "secret" not in repr(OtlpTarget("http://a", "s", "1", {"key": "secret"}))


@pytest.mark.parametrize("text", ["secret", "=secret", "a b=secret", "a=secret%0d%0aX: y", "a=secret%ff%00"])
def test_headers_that_are_none_are_refused_without_telling_them(text) -> None:
    with pytest.raises(SpecError, match="otlp_headers") as caught:
        read_headers(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        (SAMPLED, True),
        (f"cc-{TRACE_ID}-{PARENT_ID}-01-what-later-versions-add", True),
        (f"00-{TRACE_ID}-{PARENT_ID}-01-more", False),
        (f"ff-{TRACE_ID}-{PARENT_ID}-01", False),
        (f"00-{'0' * 32}-{PARENT_ID}-01", False),
        (f"00-{TRACE_ID}-{'0' * 16}-01", False),
        (SAMPLED.upper(), False),
        (SAMPLED[:-1], False),
        ("", False),
    ],
)
def test_a_traceparent_is_read_as_the_recommendation_says(text, is_valid) -> None:
    assert (read_parent(text) is not None) is is_valid


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("a=1,b=2", "a=1,b=2"),
        ("a=1 , , b=2", "a=1,b=2"),
        ("tenant@system=x y", "tenant@system=x y"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{number}=v" for number in range(33)), ""),
        ("", ""),
    ],
)
def test_a_tracestate_is_handed_on_only_if_it_is_well_formed(state, expected) -> None:
    parent = read_parent(f"{SAMPLED} {state}")
    assert parent is not None
    assert (parent.state, parent.is_sampled) == (expected, True)
