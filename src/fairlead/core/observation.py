"""What the data plane tells monitoring about one answered request. Pure value; no tensors travel with it yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One inference request. Times: `at` Unix seconds, durations in milliseconds; `error_code` is "" for an answer."""

    request_id: str
    model: str
    version: int
    at: float
    rows: int
    queue_ms: float
    compute_ms: float
    error_code: str = ""
