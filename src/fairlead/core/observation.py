"""What the data plane tells monitoring about an answered request, and about a batch that an engine ran. Pure values; no tensors."""

from __future__ import annotations

from typing import NamedTuple


# A named tuple is made four times as fast as a frozen dataclass, and one is made for every request.
class Observation(NamedTuple):
    """One inference request. Times: `at` (its end) Unix seconds, durations in milliseconds; `error_code` is "" for an answer.

    `trace` is the W3C traceparent that came with it, and behind a space its tracestate; "" for none. `transport` is "http", "grpc" or ""
    for a call in this process. `batch_rows` are the rows of the engine's call that answered it, its own and others'; 0 where none did.
    Of `compute_ms`, `input_ms` went into joining the rows of several requests, `output_ms` into parting their answers; `cache_ms` is what
    the response cache took. Neither a cache hit nor a miss: nobody looked into the cache.
    """

    request_id: str
    model: str
    version: int
    at: float
    rows: int
    queue_ms: float
    compute_ms: float
    error_code: str = ""
    transport: str = ""
    trace: str = ""
    is_cache_hit: bool = False
    batch_rows: int = 0
    is_cache_miss: bool = False
    input_ms: float = 0.0
    output_ms: float = 0.0
    cache_ms: float = 0.0


class BatchObservation(NamedTuple):
    """One call of an engine: the rows and requests that it took together, the milliseconds, and "" or the code of its error.

    `input_ms` and `output_ms` are the parts of the milliseconds in which rows were joined and the answer was parted.
    """

    model: str
    version: int
    at: float
    rows: int
    requests: int
    compute_ms: float
    error_code: str = ""
    input_ms: float = 0.0
    output_ms: float = 0.0
