"""The seam between what decides when a request goes out and what carries it: a link is a connection, a driver is told what became of it.

A request is known by its number (which of the prepared ones) and the time at which it was to be sent (time.perf_counter seconds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Waiting = tuple[int, float]


class Link(Protocol):
    """One connection. It carries `slot_count` requests at once."""

    slot_count: int

    def send(self, number: int, intended: float) -> None:
        """Send the prepared request `number`, which was to be sent at `intended`."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """Return what is under way."""
        ...

    def abort(self) -> None:
        """Cut the connection; the driver is told that it was lost."""
        ...


class Driver(Protocol):
    """What links tell, in the event loop. A link takes its next request in or after `answered`."""

    def opened(self, link: Link) -> None:
        """The link takes requests from now on."""
        ...

    def answered(self, link: Link, number: int, intended: float, status: int, head: bytes, body: bytes) -> None:
        """A whole answer came. `status` is HTTP's, or 200 for gRPC's OK and 1000 + its code otherwise; `head` has lower-case headers."""
        ...

    def lost(self, link: Link, waiting: Sequence[Waiting], reason: str) -> None:
        """The connection ended, by itself or by `abort`; what was under way on it has no answer."""
        ...
