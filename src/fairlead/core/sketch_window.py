"""What windows of a version's rows looked like: sketches of every feature, of all inputs together, the strangest rows. Pure values.

`to_bytes` and `from_bytes` keep several windows together, with a `key` that says what they were counted against. Raises CorruptError for
bytes that are no such windows, UnsupportedError where a newer Fairlead wrote them.

    bytes: "FLSW", version 1, CRC-32 of the rest, length of a JSON header, the header, then each window's arrays and sketches, deflated
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.core import sketch
from fairlead.core.interface import Array
from fairlead.core.sketch import FeatureSketch
from fairlead.errors import CorruptError, UnsupportedError

_MAGIC, _VERSION = b"FLSW", 1
_HEAD = struct.Struct("<4sHII")
_QUICK = 1  # random digits of numbers hardly get smaller, whatever the effort


@dataclass(frozen=True)
class StrangeRow:
    """A row unlike everything in the reference: its request, its place in it, and which features are strange."""

    request_id: str
    row: int
    at: float
    features: tuple[str, ...]


@dataclass(frozen=True)
class JointSketch:
    """All inputs together, as Fourier features less the reference's mean (see `monitor.drift.joint`).

    `sums` (groups, dimensions) add up requests by group, the rows of a request being one together, `requests` (groups,) count these;
    `total` (dimensions,) adds up rows, each as often as it counts, `weight` these counts and `squares` their squares.
    """

    sums: Array = field(repr=False)
    requests: Array = field(repr=False)
    total: Array = field(repr=False)
    weight: float = 0.0
    squares: float = 0.0

    def __add__(self, other: JointSketch) -> JointSketch:
        return JointSketch(
            self.sums + other.sums,
            self.requests + other.requests,
            self.total + other.total,
            self.weight + other.weight,
            self.squares + other.squares,
        )


@dataclass(frozen=True)
class WindowSketch:
    """The window from `start` to `end` (Unix seconds), of which `rows` rows were seen that stand for `weight` rows.

    `sources` are marks of the files that its rows were read from; `strange_rows` of the rows are outliers, of which `strange` shows some.
    """

    start: float
    end: float
    rows: int = 0
    weight: float = 0.0
    features: Mapping[str, FeatureSketch] = field(default_factory=dict)
    joint: JointSketch | None = None
    strange_rows: int = 0
    strange: tuple[StrangeRow, ...] = ()
    sources: frozenset[int] = frozenset()


def to_bytes(key: str, windows: Sequence[WindowSketch]) -> bytes:
    """Return windows as bytes."""
    told, bodies = [], []
    for window in windows:
        parts = [one.to_bytes() for one in window.features.values()]
        joint = b"" if window.joint is None else _joint_bytes(window.joint)
        body = b"".join([np.array(sorted(window.sources), "<u8").tobytes(), joint, *parts])
        bodies.append(zlib.compress(body, _QUICK))
        told.append(
            {
                "span": [window.start, window.end],
                "rows": [window.rows, window.weight, window.strange_rows],
                "strange": [[row.request_id, row.row, row.at, list(row.features)] for row in window.strange],
                "sources": len(window.sources),
                "joint": None if window.joint is None else [*window.joint.sums.shape, window.joint.weight, window.joint.squares],
                "sketches": [len(part) for part in parts],
                "bytes": [len(body), len(bodies[-1])],
            }
        )
    head = json.dumps({"key": key, "windows": told}, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
    rest = b"".join([head, *bodies])
    return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(rest), len(head)) + rest


def from_bytes(data: bytes) -> tuple[str, tuple[WindowSketch, ...]]:
    """Return the key and the windows that `to_bytes` wrote."""
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise _corrupt()
    _, version, checksum, head_size = _HEAD.unpack_from(data)
    if version > _VERSION:
        raise UnsupportedError(
            f"These sketches have format {version}; this Fairlead reads {_VERSION}.",
            hint="A newer Fairlead wrote them: upgrade with pip install -U fairlead.",
        )
    rest = data[_HEAD.size :]
    if version != _VERSION or zlib.crc32(rest) != checksum or head_size > len(rest):
        raise _corrupt()
    try:
        header = json.loads(rest[:head_size].decode(errors="surrogatepass"))
        windows, place = [], head_size
        for told in header["windows"]:
            size, packed = (int(number) for number in told["bytes"])
            body = zlib.decompressobj().decompress(rest[place : place + packed], size + 1)
            if len(body) != size:
                raise _corrupt()
            windows.append(_window(told, body))
            place += packed
        return str(header["key"]), tuple(windows)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, zlib.error) as error:
        raise _corrupt() from error


def _window(told: dict[str, Any], body: bytes) -> WindowSketch:
    start, end = (float(at) for at in told["span"])
    rows, weight, strange_rows = told["rows"]
    place = 8 * int(told["sources"])
    sources = frozenset(np.frombuffer(body[:place], "<u8").tolist())
    joint, used = (None, 0) if told["joint"] is None else _joint(told["joint"], body[place:])
    place += used
    features = {}
    for size in told["sketches"]:
        one = sketch.from_bytes(body[place : place + int(size)])
        features[one.feature] = one
        place += int(size)
    strange = tuple(StrangeRow(str(name), int(row), float(at), tuple(map(str, names))) for name, row, at, names in told["strange"])
    return WindowSketch(start, end, int(rows), float(weight), features, joint, int(strange_rows), strange, sources)


def _joint_bytes(joint: JointSketch) -> bytes:
    return b"".join(array.astype("<f4").tobytes() for array in (joint.sums, joint.requests, joint.total))


def _joint(told: Sequence[Any], body: bytes) -> tuple[JointSketch, int]:
    groups, dimensions = int(told[0]), int(told[1])
    sizes = (groups * dimensions, groups, dimensions)
    numbers = np.frombuffer(body, "<f4", sum(sizes)).astype(np.float64)
    sums, requests, total = np.split(numbers, np.cumsum(sizes)[:-1])
    return JointSketch(sums.reshape(groups, dimensions), requests, total, float(told[2]), float(told[3])), 4 * sum(sizes)


def _corrupt() -> CorruptError:
    return CorruptError("These bytes are no sketches of windows.", hint="The file was changed or is incomplete; it is left out.")
