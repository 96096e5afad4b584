"""The trace that a caller belongs to, from its headers into an observation.

Takes the values of `traceparent` and `tracestate` as they came (W3C Trace Context, www.w3.org/TR/trace-context); gives one text for
`InferRequest.trace`. It checks sizes and bytes only, since it runs for every request; what the text means is decided where spans are made.
"""

from __future__ import annotations

_PARENT_BYTES = range(55, 257)  # version 00 has 55; later ones may append to it
_STATE_BYTES = 512  # what a vendor has to be able to carry, by the recommendation


def read_trace(traceparent: bytes | None, tracestate: bytes | None = None) -> str:
    """Return both as one text, divided by a space; "" where there is no usable traceparent. A tracestate that is too long is left out."""
    if traceparent is None or len(traceparent) not in _PARENT_BYTES or b" " in traceparent or not traceparent.isascii():
        return ""
    if not tracestate or len(tracestate) > _STATE_BYTES or not tracestate.isascii():
        return traceparent.decode("ascii")
    return f"{traceparent.decode('ascii')} {tracestate.decode('ascii')}"
