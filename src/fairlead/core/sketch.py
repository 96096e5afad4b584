"""What many values of one feature looked like, in constant memory: counts, moments, quantiles, distinct and frequent values. Pure values.

`monitor.sketch` makes, updates and merges them; `to_bytes` and `from_bytes` keep them, in SIZE_LIMIT_BYTES at most. Raises CorruptError for
bytes that are no sketch.

    bytes: "FLSK", version 2, CRC-32 of the rest, length of a JSON header, the header, then its arrays, little-endian, one after another
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import FeatureKind
from fairlead.errors import CorruptError

SIZE_LIMIT_BYTES = 32 * 2**10
_MAGIC, _VERSION = b"FLSK", 2
_HEAD = struct.Struct("<4sHII")


@dataclass(frozen=True)
class Tally:
    """Counts against a profile: of all rows, those without a value, outside of the profile's range, no whole number where all were whole,
    and by cell (see `FeatureProfile.cells`). A row counts w: more than 1 where it stands for others that were not kept, less where the
    rows of its request are one together; `surplus` is the sum of w^2 - w over those with w > 1.
    """

    rows: float = 0.0
    missing: float = 0.0
    outside: float = 0.0
    fractions: float = 0.0
    cells: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    surplus: float = 0.0

    @property
    def effective(self) -> float:
        """How many rows of equal weight would know as much: the square of the sum of weights by the sum of their squares.

        Source: Kish, "Survey sampling", Wiley 1965, section 11.7.
        """
        return self.rows * self.rows / (self.rows + self.surplus) if self.rows else 0.0

    def scaled(self, factor: float) -> Tally:
        """Return the tally in which every row counts `factor` times as much."""
        surplus = (self.rows + self.surplus) * factor * factor - self.rows * factor
        return Tally(
            self.rows * factor, self.missing * factor, self.outside * factor, self.fractions * factor, self.cells * factor, surplus
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            self.missing + other.missing,
            self.outside + other.outside,
            self.fractions + other.fractions,
            self.cells + other.cells,
            self.surplus + other.surplus,
        )


@dataclass(frozen=True)
class Moments:
    """Of `count` finite values, each as often as its row counts: mean, sum of squared deviations from it, smallest and largest."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    low: float = np.inf
    high: float = -np.inf

    @property
    def std(self) -> float:
        """Standard deviation, by the population's formula; NaN for nothing."""
        return float(np.sqrt(self.squares / self.count)) if self.count else float("nan")


@dataclass(frozen=True)
class Quantiles:
    """A sample of `seen` values: those in `levels[h]` stand for 2^h values each. `variance` bounds that of the error of a rank (see
    `monitor.sketch.quantiles`), `seed` is where the next random offset comes from.
    """

    levels: tuple[Array, ...] = field(default=(), repr=False)
    seen: int = 0
    variance: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Frequent:
    """The values that occur most: each occurred `counts` times at least and `counts + error` at most; others `error` times at most."""

    keys: tuple[str | float, ...] = ()
    counts: tuple[float, ...] = ()
    error: float = 0.0


@dataclass(frozen=True)
class FeatureSketch:
    """Values of one feature. In `by_row`, and all else, a row counts for what it stands for; in `by_request`, which evidence is drawn
    from, the rows of a request are one together, whatever they stand for.

    `hashes` are the smallest different ones of all values, in order. A category has no quantiles and moments.
    """

    feature: str
    kind: FeatureKind
    by_row: Tally = field(default_factory=Tally)
    by_request: Tally = field(default_factory=Tally)
    moments: Moments = field(default_factory=Moments)
    quantiles: Quantiles = field(default_factory=Quantiles)
    hashes: Array = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    frequent: Frequent = field(default_factory=Frequent)

    def to_bytes(self) -> bytes:
        """Return the sketch as bytes."""
        levels = self.quantiles.levels
        arrays = [self.by_row.cells, self.by_request.cells, self.hashes, *levels]
        header = {
            "feature": self.feature,
            "kind": self.kind.value,
            "tallies": [
                [tally.rows, tally.missing, tally.outside, tally.fractions, tally.surplus] for tally in (self.by_row, self.by_request)
            ],
            "moments": [self.moments.count, self.moments.mean, self.moments.squares, self.moments.low, self.moments.high],
            "quantiles": [self.quantiles.seen, self.quantiles.variance, self.quantiles.seed],
            "frequent": [list(self.frequent.keys), list(self.frequent.counts), self.frequent.error],
            "sizes": [len(array) for array in arrays],
        }
        head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
        body = b"".join([head, *(array.astype("<u8" if array.dtype == np.uint64 else "<f8").tobytes() for array in arrays)])
        return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(body), len(head)) + body


def from_bytes(data: bytes) -> FeatureSketch:
    """Return the sketch that `to_bytes` wrote."""
    if len(data) < _HEAD.size:
        raise _corrupt()
    magic, version, checksum, head_size = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or version != _VERSION or zlib.crc32(body) != checksum or head_size > len(body):
        raise _corrupt()
    try:
        return _read(json.loads(body[:head_size].decode(errors="surrogatepass")), body[head_size:])
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise _corrupt() from error


def _read(header: dict[str, Any], data: bytes) -> FeatureSketch:
    arrays, place = [], 0
    for number, size in enumerate(header["sizes"]):
        arrays.append(
            np.frombuffer(data, "<u8" if number == 2 else "<f8", int(size), place).astype(np.uint64 if number == 2 else np.float64)
        )
        place += 8 * int(size)
    tallies = [_tally([float(value) for value in numbers], cells) for numbers, cells in zip(header["tallies"], arrays[:2], strict=True)]
    count, *numbers = header["moments"]
    seen, variance, seed = header["quantiles"]
    keys, counts, error = header["frequent"]
    return FeatureSketch(
        str(header["feature"]),
        FeatureKind(header["kind"]),
        tallies[0],
        tallies[1],
        Moments(float(count), *(float(value) for value in numbers)),
        Quantiles(tuple(arrays[3:]), int(seen), float(variance), int(seed)),
        arrays[2],
        Frequent(tuple(keys), tuple(float(value) for value in counts), float(error)),
    )


def _tally(numbers: list[float], cells: Array) -> Tally:
    rows, missing, outside, fractions, surplus = numbers
    return Tally(rows, missing, outside, fractions, cells, surplus)


def _corrupt() -> CorruptError:
    return CorruptError(
        "These bytes are no sketch of a feature.", hint="The file was changed or is incomplete; remove it, and it is made anew."
    )
