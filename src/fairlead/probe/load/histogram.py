"""Times of any size in few numbers, each within 1 % of what was measured: buckets whose widths grow with the time.

Takes seconds; gives percentiles, counts and shares. The smallest, the largest and the sum are kept exactly. Never loses a time: one that
lies outside the range counts in the bucket at its end. The idea is HdrHistogram's (hdrhistogram.org), the buckets are logarithmic here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ERROR_RATIO = 0.01
_FIRST_S = 1e-6
_GROWTH = (1 + ERROR_RATIO) / (1 - ERROR_RATIO)
_SCALE = 1 / math.log(_GROWTH)
_BUCKET_COUNT = math.ceil(math.log(86_400 / _FIRST_S) * _SCALE)


class Histogram:
    """Counts of times in seconds. Two of them add up; `to_plain` and `from_plain` carry one to another process."""

    __slots__ = ("count", "counts", "largest_s", "smallest_s", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * _BUCKET_COUNT
        self.count = 0
        self.sum_s = 0.0
        self.smallest_s = math.inf
        self.largest_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        index = int(math.log(seconds / _FIRST_S) * _SCALE) if seconds > _FIRST_S else 0
        self.counts[index if index < _BUCKET_COUNT else _BUCKET_COUNT - 1] += 1
        self.count += 1
        self.sum_s += seconds
        if seconds > self.largest_s:  # noqa: PLR1730 - max() costs more than the rest of this method
            self.largest_s = seconds
        if seconds < self.smallest_s:  # noqa: PLR1730 - likewise
            self.smallest_s = seconds

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` counted."""
        self.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        self.count += other.count
        self.sum_s += other.sum_s
        self.smallest_s = min(self.smallest_s, other.smallest_s)
        self.largest_s = max(self.largest_s, other.largest_s)

    @property
    def mean_s(self) -> float:
        """The arithmetic mean, exactly; 0 where nothing was counted."""
        return self.sum_s / self.count if self.count else 0.0

    def percentile_s(self, percent: float) -> float:
        """Return the smallest time that at least `percent` % did not exceed (nearest rank), within 1 %; 0 where nothing was counted.

        Raises ValueError for a percentage outside (0, 100].
        """
        if not 0 < percent <= 100:
            raise ValueError("a percentile needs a percentage above 0, at most 100")
        rank, seen = math.ceil(percent * self.count / 100 - 1e-9), 0
        if rank >= self.count:
            return self.largest_s
        for index, count in enumerate(self.counts):
            seen += count
            if seen >= max(rank, 1):
                return min(max(_middle_s(index), self.smallest_s), self.largest_s)
        return self.largest_s

    def count_above(self, seconds: float) -> int:
        """Return how many times lay above `seconds`, to within the times that lie in its own bucket, which count as above."""
        if seconds >= self.largest_s:
            return 0
        index = int(math.log(seconds / _FIRST_S) * _SCALE) if seconds > _FIRST_S else 0
        return sum(self.counts[index:])

    def bars(self, limit: int = 16) -> list[tuple[float, float, int]]:
        """Return (from, to, count) of at most `limit` ranges, each as wide as the others by ratio, that hold every time."""
        used = [index for index, count in enumerate(self.counts) if count]
        if not used:
            return []
        width = math.ceil((used[-1] - used[0] + 1) / limit)
        starts = range(used[0], used[-1] + 1, width)
        return [(_edge_s(start), _edge_s(start + width), sum(self.counts[start : start + width])) for start in starts]

    def to_plain(self) -> dict[str, object]:
        """Return plain data: the buckets that are not empty, by index."""
        counts = {str(index): count for index, count in enumerate(self.counts) if count}
        smallest = self.smallest_s if self.count else 0.0
        return {"error_ratio": ERROR_RATIO, "sum_s": self.sum_s, "smallest_s": smallest, "largest_s": self.largest_s, "counts": counts}

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Histogram:
        """Return the histogram that `to_plain` wrote."""
        made = cls()
        counts = plain["counts"]
        if isinstance(counts, Mapping):
            for index, count in counts.items():
                made.counts[int(index)] = int(count)
        made.count = sum(made.counts)
        made.sum_s, made.largest_s = float(str(plain["sum_s"])), float(str(plain["largest_s"]))
        made.smallest_s = float(str(plain["smallest_s"])) if made.count else math.inf
        return made


def _edge_s(index: int) -> float:
    """Where a bucket begins."""
    return _FIRST_S * math.exp(index / _SCALE)


def _middle_s(index: int) -> float:
    """The time that no time in the bucket is further from than ERROR_RATIO of itself: the harmonic mean of its edges."""
    low, high = _edge_s(index), _edge_s(index + 1)
    return 2 * low * high / (low + high)
