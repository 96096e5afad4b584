"""What an observation log shows of one version, window by window, in order of time.

`sights` reads the log some windows at a time, since rows lie there in no order, and gives sketches of each window that has rows: of every
feature, of all inputs together, and its strangest rows. Memory is bounded whatever the traffic: it holds sketches of these windows. Raises
what the log raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.interface import Array, Interface
from fairlead.core.observation_log import INPUT, OUTPUT, LogWindow, ObservationLog, columns_of
from fairlead.core.profile import FeatureProfile, Profile
from fairlead.core.sketch import FeatureSketch
from fairlead.core.sketch_window import JointSketch, StrangeRow, WindowSketch
from fairlead.core.version import Version
from fairlead.monitor.drift.features import log_columns, observed_features
from fairlead.monitor.drift.joint import joint_sketch
from fairlead.monitor.drift.outliers import find_outliers
from fairlead.monitor.sketch.update import empty, update
from fairlead.monitor.sketch.windows import SHOWN_OUTLIERS, strangest

DAY = 24  # windows that are read at once, at most
HELD_SKETCHES = 4000  # sketches of so many features and windows are held at once: 60 MiB at most
_BESIDE = ("at", "request_id", "row", "share", "status")
_TOGETHER_ROWS = 8192  # of a window, for the test of all inputs together: the first that are read
_THREADS = 2
_MANY_ROWS, _BLOCK_ROWS = 2**14, 2**16


@dataclass(frozen=True)
class Source:
    """Where rows come from, and what is worked out of them; columns of the log that are `altered` are not looked at."""

    log: ObservationLog
    version: Version
    profile: Profile
    interface: Interface
    altered: frozenset[str] = frozenset()

    def window(self, since: float, until: float) -> LogWindow:
        """Return the version's rows of that time."""
        return LogWindow(self.version.name, (self.version.number,), since, until)

    def columns(self, window: LogWindow) -> tuple[str, ...]:
        """Return the log's columns that are looked at."""
        there = self.log.columns(window).keys() - self.altered
        return tuple(name for name in log_columns(self.profile, self.interface) if name in there)

    def without_altered(self, window: WindowSketch) -> WindowSketch:
        """Return a window without features whose columns are altered; it may be older than the rule."""
        gone = {feature.name for feature in self.profile.features if INPUT + feature.name in self.altered}
        rule = self.interface.decision
        answers = {rule.output, rule.scores} if rule is not None else set()
        if any(self.altered.intersection(columns_of(spec, OUTPUT)) for spec in self.interface.outputs if spec.name in answers):
            gone |= {feature.name for feature in self.profile.predictions}
        if not gone:
            return window
        embedding = self.profile.embedding
        is_whole = embedding is not None and not gone.intersection(embedding.features)
        features = {name: one for name, one in window.features.items() if name not in gone}
        return replace(window, features=features, joint=window.joint if is_whole else None)


def windows_at_once(profile: Profile) -> int:
    """Return of how many windows the sketches may be held."""
    return max(min(DAY, HELD_SKETCHES // max(len(profile.everything), 1)), 1)


def sights(source: Source, first: float, until: float, window_s: float) -> Iterator[WindowSketch]:
    """Yield the windows from `first` to `until` that have rows; a window begins at each multiple of `window_s` after `first`."""
    start = first
    while start < until:
        end = min(start + windows_at_once(source.profile) * window_s, until)
        held: dict[int, _Gathering] = {}
        window = source.window(start, end)
        for block in in_blocks(source.log.scan(window, (*_BESIDE, *source.columns(window)))):
            places = ((block["at"] - start) // window_s).astype(np.int64)
            for place in np.unique(places).tolist():
                began = start + place * window_s
                gathered = held.setdefault(place, _Gathering(source, began, min(began + window_s, end)))
                gathered.take({name: column[places == place] for name, column in block.items()})
        yield from (held[place].window() for place in sorted(held))
        start = end


def request_weights(piece: Mapping[str, Array]) -> Array | None:
    """Return what each row counts for so that the rows of a request are one together; None where every request has one row."""
    if not len(piece["row"]) or not np.any(piece["row"]):
        return None
    ids = piece["request_id"].tolist()
    sizes = Counter(ids)
    return np.array([1.0 / sizes[request] for request in ids])


def stands_for(piece: Mapping[str, Array]) -> Array | None:
    """Return how many rows each row is one of, where a share of the requests was kept; None where all were."""
    shares = np.asarray(piece["share"], dtype=np.float64)
    is_part = (shares > 0.0) & (shares < 1.0)  # NaN: nobody said so, and all were kept
    return np.round(1.0 / np.where(is_part, shares, 1.0), 3) if is_part.any() else None


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


class _Gathering:
    """One window while its rows come."""

    def __init__(self, source: Source, start: float, end: float) -> None:
        self._source, self._start, self._end = source, start, end
        self._rows = self._strange_rows = 0
        self._weight = 0.0
        self._sketches: dict[str, FeatureSketch] = {}
        self._joint: JointSketch | None = None
        self._joint_rows = 0
        self._strange: tuple[StrangeRow, ...] = ()
        self._known = {feature.name: feature for feature in source.profile.everything}
        self._answers = {feature.name for feature in source.profile.predictions}

    def take(self, piece: Mapping[str, Array]) -> None:
        """Add rows."""
        rows = len(piece["at"])
        weights, times = request_weights(piece), stands_for(piece)
        columns = observed_features(self._source.profile, self._source.interface, piece)
        is_answered = _answered(piece)
        asked = []
        for name, values in columns.items():
            of = is_answered if name in self._answers else None  # what failed has no answer, which is no answer that is missing
            sketch = self._sketches.get(name) or empty(self._known[name])
            taken = values if of is None else values[of]
            asked.append((sketch, self._known[name], taken, _some(weights, of), _some(times, of)))
        self._sketches |= dict(zip(columns, _updated(asked, rows), strict=True))
        self._rows += rows
        self._weight += rows if times is None else float(times.sum())
        self._put_together(piece, columns, weights, times)
        self._look_for_outliers(piece, columns)

    def window(self) -> WindowSketch:
        """Return what came of it."""
        return WindowSketch(
            self._start, self._end, self._rows, self._weight, self._sketches, self._joint, self._strange_rows, self._strange
        )

    def _put_together(self, piece: Mapping[str, Array], columns: Mapping[str, Array], weights: Array | None, times: Array | None) -> None:
        room = slice(0, _TOGETHER_ROWS - self._joint_rows)
        if self._joint_rows >= _TOGETHER_ROWS:
            return
        taken = {name: values[room] for name, values in columns.items()}
        ids = map(str, piece["request_id"][room].tolist())
        found = joint_sketch(self._source.profile, taken, ids, weights=_some(weights, room), stands_for=_some(times, room))
        if found is not None:
            self._joint = found if self._joint is None else self._joint + found
            self._joint_rows += min(len(piece["at"]), _TOGETHER_ROWS - self._joint_rows)

    def _look_for_outliers(self, piece: Mapping[str, Array], columns: Mapping[str, Array]) -> None:
        found = find_outliers(self._source.profile.features, columns)
        self._strange_rows += int((found.counts > 0).sum())
        fresh = []
        for place in np.argsort(-found.counts, kind="stable")[:SHOWN_OUTLIERS].tolist():
            if found.counts[place]:
                names = tuple(name for name, is_strange in found.by_feature.items() if is_strange[place])
                fresh.append(StrangeRow(str(piece["request_id"][place]), int(piece["row"][place]), float(piece["at"][place]), names))
        self._strange = strangest([*self._strange, *fresh])


def _answered(piece: Mapping[str, Array]) -> Array | None:
    """Return which rows were answered; None where all were."""
    failed = np.array([isinstance(status, str) and status != "ok" for status in piece["status"].tolist()], np.bool_)
    return ~failed if failed.any() else None


def _some(values: Array | None, of: Array | slice | None) -> Array | None:
    return values if values is None or of is None else values[of]


def _updated(asked: Sequence[tuple[FeatureSketch, FeatureProfile, Array, Array | None, Array | None]], rows: int) -> list[FeatureSketch]:
    """Return the sketches with more rows. Sorting is most of the work for many, and lets other threads run meanwhile."""
    if rows < _MANY_ROWS:
        return [update(*one) for one in asked]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda one: update(*one), asked))
