"""What a running server holds at one moment: the numbers that are read, not counted.

Pure values; `serve` makes them, `monitor` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.traffic_event import TrafficReading


@dataclass(frozen=True)
class VersionReading:
    """One version in the table. Workers are processes of its own: 0 where it runs in the server's process."""

    model: str
    version: int
    is_ready: bool
    in_flight: int = 0
    queue_length: int = 0
    memory_bytes: int = 0
    worker_count: int = 0
    alive_worker_count: int = 0
    restart_count: int = 0


@dataclass(frozen=True)
class CacheReading:
    """The response cache: what it holds now, and how many answers had to make room."""

    used_bytes: int
    entry_count: int
    eviction_count: int


@dataclass(frozen=True)
class ServerReading:
    """The server as a whole. `responses` counts everything that was answered, by transport ("http", "grpc") and status."""

    is_ready: bool
    connection_count: int = 0
    versions: tuple[VersionReading, ...] = ()
    responses: Mapping[tuple[str, str], int] = field(default_factory=dict)
    cache: CacheReading | None = None
    traffic: TrafficReading = field(default_factory=TrafficReading)
