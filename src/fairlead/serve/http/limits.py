"""Every limit of the HTTP transport, checked before any parser sees the bytes. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpLimits:
    """Sizes in bytes, times in seconds. `body_bytes` bounds a body on the wire and again after decompression, `control_bytes` one that
    carries no tensors; `buffered_bytes` bounds all bodies that are being received at once. A body may take `body_deadline_s` plus a second
    per MiB.
    """

    body_bytes: int = 64 * 2**20
    control_bytes: int = 2**20
    buffered_bytes: int = 512 * 2**20
    header_bytes: int = 16 * 2**10
    header_count: int = 64
    chunk_count: int = 65_536
    json_depth: int = 100
    connection_count: int = 1024
    pipelined_count: int = 8
    header_deadline_s: float = 10.0
    body_deadline_s: float = 30.0
    write_deadline_s: float = 30.0
    idle_s: float = 75.0
    linger_s: float = 1.0
