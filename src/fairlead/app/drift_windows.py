"""What an observation log shows of one version, window by window, in order of time.

`sights` reads the log a day's worth of windows at a time, since rows lie there in no order, and gives a Sight for each window that has
rows: sketches of every feature, some rows for the test of all inputs together, and the strangest rows. Memory is bounded whatever the
traffic: it holds sketches of DAY windows. Raises what the log raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array, Interface
from fairlead.core.observation_log import LogWindow, ObservationLog
from fairlead.core.profile import FeatureProfile, Profile
from fairlead.core.sketch import FeatureSketch
from fairlead.core.version import Version
from fairlead.monitor.drift.features import observed_features
from fairlead.monitor.drift.outliers import find_outliers
from fairlead.monitor.sketch.update import empty, update

DAY = 24  # windows that are read at once
SHOWN_OUTLIERS = 10
_BESIDE = ("at", "request_id", "row")
_TOGETHER_ROWS = 8192  # of a window, for the test of all inputs together: the first that are read
_THREADS = 2
_MANY_ROWS, _BLOCK_ROWS = 2**14, 2**16


@dataclass(frozen=True)
class StrangeRow:
    """A row unlike everything in the reference: its request, its place in it, and which features are strange."""

    request_id: str
    row: int
    at: float
    features: tuple[str, ...]


@dataclass
class Sight:
    """What the window from `start` to `end` (Unix seconds) shows. `together` are rows by feature, each with what its rows weigh."""

    start: float
    end: float
    rows: int = 0
    sketches: dict[str, FeatureSketch] = field(default_factory=dict)
    together: list[tuple[Mapping[str, Array], Array | None]] = field(default_factory=list)
    together_rows: int = 0
    strange_rows: int = 0
    strange: list[StrangeRow] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """Where rows come from, and what is worked out of them: `columns` are those of the log that are looked at."""

    log: ObservationLog
    version: Version
    profile: Profile
    interface: Interface
    columns: tuple[str, ...]


def sights(source: Source, first: float, until: float, window_s: float) -> Iterator[Sight]:
    """Yield the windows from `first` to `until` that have rows; a window begins at each multiple of `window_s` after `first`."""
    start = first
    while start < until:
        end = min(start + DAY * window_s, until)
        held: dict[int, Sight] = {}
        window = LogWindow(source.version.name, (source.version.number,), start, end)
        for block in in_blocks(source.log.scan(window, (*_BESIDE, *source.columns))):
            places = ((block["at"] - start) // window_s).astype(np.int64)
            for place in np.unique(places).tolist():
                began = start + place * window_s
                sight = held.setdefault(place, Sight(began, min(began + window_s, end)))
                _take(source, sight, {name: column[places == place] for name, column in block.items()})
        yield from (held[place] for place in sorted(held))
        start = end


def request_weights(piece: Mapping[str, Array]) -> Array | None:
    """Return what each row counts for so that the rows of a request are one together; None where every request has one row."""
    if not len(piece["row"]) or not np.any(piece["row"]):
        return None
    ids = piece["request_id"].tolist()
    sizes = Counter(ids)
    return np.array([1.0 / sizes[request] for request in ids])


def in_blocks(pieces: Iterable[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
    """Yield the rows of `pieces` in larger ones: what a sketch costs beside the sorting is paid once for each."""
    held: list[Mapping[str, Array]] = []
    for piece in pieces:
        if held and any(held[0][name].ndim != column.ndim for name, column in piece.items()):  # lists of one length, and of several
            yield _joined(held)
            held = []
        held.append(piece)
        if sum(len(one["at"]) for one in held) >= _BLOCK_ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(pieces: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    return pieces[0] if len(pieces) == 1 else {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _take(source: Source, sight: Sight, piece: Mapping[str, Array]) -> None:
    """Add rows to what their window shows."""
    weights = request_weights(piece)
    columns = observed_features(source.profile, source.interface, piece)
    known = {feature.name: feature for feature in source.profile.everything}
    asked = [(sight.sketches.get(name) or empty(known[name]), known[name], values, weights) for name, values in columns.items()]
    sight.sketches |= dict(zip(columns, _updated(asked, len(piece["at"])), strict=True))
    sight.rows += len(piece["at"])
    embedding = source.profile.embedding
    room = _TOGETHER_ROWS - sight.together_rows
    if embedding is not None and room > 0 and all(name in columns for name in embedding.features):
        taken = {name: columns[name][:room] for name in embedding.features}
        sight.together.append((taken, None if weights is None else weights[:room]))
        sight.together_rows += min(room, len(piece["at"]))
    _look_for_outliers(source.profile, sight, piece, columns)


def _updated(asked: Sequence[tuple[FeatureSketch, FeatureProfile, Array, Array | None]], rows: int) -> list[FeatureSketch]:
    """Return the sketches with more rows. Sorting is most of the work for many, and lets other threads run meanwhile."""
    if rows < _MANY_ROWS:
        return [update(*one) for one in asked]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda one: update(*one), asked))


def _look_for_outliers(profile: Profile, sight: Sight, piece: Mapping[str, Array], columns: Mapping[str, Array]) -> None:
    found = find_outliers(profile.features, columns)
    sight.strange_rows += int((found.counts > 0).sum())
    for place in np.argsort(-found.counts, kind="stable")[:SHOWN_OUTLIERS].tolist():
        if found.counts[place]:
            names = tuple(name for name, is_strange in found.by_feature.items() if is_strange[place])
            row = StrangeRow(str(piece["request_id"][place]), int(piece["row"][place]), float(piece["at"][place]), names)
            sight.strange.append(row)
    sight.strange = strangest(sight.strange)


def strangest(rows: Iterable[StrangeRow]) -> list[StrangeRow]:
    """Return the rows with the most strange features, of equals the newest."""
    return sorted(rows, key=lambda row: (-len(row.features), -row.at))[:SHOWN_OUTLIERS]
