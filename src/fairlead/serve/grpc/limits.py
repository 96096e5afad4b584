"""Every limit of the gRPC transport, checked before any parser sees the bytes. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GrpcLimits:
    """Sizes in bytes, times in seconds.

    `message_bytes` bounds a message on the wire and again after decompression, `control_bytes` one that carries no tensors,
    `buffered_bytes` what is held of unfinished messages on all connections together. A message may take `body_deadline_s` plus a second
    per MiB. `reset_count` is how many streams of one connection may be cancelled in a second before that counts as an attack, if it is
    most of them; `chore_count` how many frames that carry nothing, beyond some for each answer.
    """

    message_bytes: int = 64 * 2**20
    control_bytes: int = 2**20
    buffered_bytes: int = 512 * 2**20
    pending_bytes: int = 64 * 2**20
    header_bytes: int = 16 * 2**10
    header_count: int = 64
    continuation_count: int = 16
    tensor_count: int = 64
    field_count: int = 4096
    stream_count: int = 100
    item_count: int = 16
    connection_count: int = 1024
    stream_window_bytes: int = 2**20
    connection_window_bytes: int = 4 * 2**20
    reset_count: int = 200
    chore_count: int = 2000
    header_deadline_s: float = 10.0
    body_deadline_s: float = 30.0
    write_deadline_s: float = 30.0
    idle_s: float = 75.0
    ping_after_s: float = 60.0
    ping_deadline_s: float = 20.0
    linger_s: float = 1.0
