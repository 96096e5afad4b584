"""What a request did, as OpenTelemetry spans: one for the server, and beneath it what it waited and what the engine took.

Takes observations with their callers' contexts; gives the message that OTLP sends. Pure but for the drawing of identities. Field names are
those of opentelemetry-proto; span kinds, statuses and `error.type` follow OpenTelemetry's semantic conventions, which know no attributes of
model servers yet: those are called `fairlead.*`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from fairlead.core.observation import Observation
from fairlead.monitor.trace_parent import TraceParent
from fairlead.monitor.traces import Traced

_NS_PER_S = 10**9
_NS_PER_MS = 10**6
# Mistakes of ours and of the machine; the others are the caller's, which OpenTelemetry does not call an error of a server span.
_CLIENT_CODES = frozenset({"bad_input", "bad_data", "bad_request", "too_large", "unsupported", "not_found", "cancelled", "conflict"})
Attribute = str | int | bool


def export_request(traced: Sequence[Traced], resource: Mapping[str, Attribute], release: str) -> ExportTraceServiceRequest:
    """Return the message with the spans of all requests; `resource` says who sends it."""
    spans = [span for observation, parent in traced for span in spans_of(observation, parent)]
    scope = ScopeSpans(scope=InstrumentationScope(name="fairlead", version=release), spans=spans)
    sender = Resource(attributes=_attributes(resource))
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=sender, scope_spans=[scope])])


def spans_of(observation: Observation, parent: TraceParent | None) -> Iterator[Span]:
    """Yield the spans of one request, its own first. A traced caller's is its parent; it is the root otherwise."""
    end = round(observation.at * _NS_PER_S)
    compute = max(round(observation.compute_ms * _NS_PER_MS), 0)
    began = end - compute
    asked = began - max(round(observation.queue_ms * _NS_PER_MS), 0)
    trace_id = parent.trace_id if parent is not None else os.urandom(16)
    span_id = os.urandom(8)
    state = parent.state if parent is not None else ""
    yield Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent.span_id if parent is not None else b"",
        trace_state=state,
        flags=_flags(parent),
        name=f"infer {observation.model}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=asked,
        end_time_unix_nano=end,
        attributes=_attributes(_described(observation)),
        status=Status(code=Status.STATUS_CODE_ERROR, message=observation.error_code) if _is_failure(observation) else None,
    )
    if observation.is_cache_hit or not observation.batch_rows:
        return
    for name, start, stop in (("queue", asked, began), ("compute", began, end)):
        yield Span(
            trace_id=trace_id,
            span_id=os.urandom(8),
            parent_span_id=span_id,
            trace_state=state,
            flags=0x101,
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start,
            end_time_unix_nano=stop,
            attributes=_attributes({"fairlead.batch.rows": observation.batch_rows}) if name == "compute" else (),
        )


def _flags(parent: TraceParent | None) -> int:
    """Sampled, known whether the parent is remote, and whether it is (bits 0, 8 and 9)."""
    return 0x101 if parent is None else 0x301


def _is_failure(observation: Observation) -> bool:
    return observation.error_code != "" and observation.error_code not in _CLIENT_CODES


def _described(observation: Observation) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "fairlead.model.name": observation.model,
        "fairlead.model.version": observation.version,
        "fairlead.request.id": observation.request_id,
        "fairlead.request.rows": observation.rows,
        "fairlead.batch.rows": observation.batch_rows,
        "fairlead.cache.hit": observation.is_cache_hit,
        "fairlead.transport": observation.transport or "local",
    }
    if observation.error_code:
        found["error.type"] = observation.error_code
    return found


def _attributes(values: Mapping[str, Attribute]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Attribute) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
