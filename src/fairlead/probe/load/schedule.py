"""When requests are to be sent in an open loop: at times that do not depend on what was answered before. Pure and seeded.

Takes a rate per second; gives seconds since the start, never falling, without end. Users arrive like `poisson`; `bursts` are users of one
page that asks many things at once; `constant` is for reading a server's own rhythm. Latency counts from these times, whatever kept the
sender from keeping them.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator

from fairlead.errors import SpecError


class Arrivals(enum.StrEnum):
    """How the gaps between requests are distributed."""

    POISSON = "poisson"
    BURSTS = "bursts"
    CONSTANT = "constant"


BURST_SIZE = 16  # requests that come at once, of a load of bursts


def schedule(kind: Arrivals, rate: float, *, seed: int, part: int = 0, part_count: int = 1) -> Iterator[float]:
    """Yield the times of the requests of one part out of `part_count` senders that together make `rate`.

    Parts of a constant schedule interleave; parts of a Poisson schedule are independent, and so make a Poisson schedule again.
    """
    if not 0 < rate < 1e7:
        raise SpecError(f"A rate of {rate:g} requests per second cannot be sent.", hint="Give a rate above 0.")
    own = rate / part_count
    if kind is Arrivals.CONSTANT:
        return _constant(own, part / part_count)
    if kind is Arrivals.POISSON:
        return _poisson(own, seed, part)
    return (at for at in _poisson(own / BURST_SIZE, seed, part) for _ in range(BURST_SIZE))


def _poisson(rate: float, seed: int, part: int) -> Iterator[float]:
    generator = random.Random(f"{seed}/{part}")  # noqa: S311 - a load, not a secret
    at = 0.0
    while True:
        at += generator.expovariate(rate)
        yield at


def _constant(rate: float, phase: float) -> Iterator[float]:
    """Each time is computed from its number: a sum of gaps would drift."""
    number = 0
    while True:
        yield (number + phase) / rate
        number += 1
