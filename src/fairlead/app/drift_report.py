"""Which inputs of a served version moved, by how much, whether the model uses them, what it may cost and what to do.

`report` takes a DriftRequest, reads the observation log window by window and gives a DriftReport: what was measured of every feature, and
the findings that are proven within the false-alarm budget. Raises NotFoundError where the version has no profile or the log no rows,
SpecError for times that make no sense, and what the stores raise. It changes nothing.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fairlead.app.observing_rules import observing_of
from fairlead.app.profiling import PROFILE
from fairlead.app.wiring import House
from fairlead.core.finding import Finding
from fairlead.core.interface import Array, Interface
from fairlead.core.observation_log import LogWindow, ObservationLog
from fairlead.core.ports import Progress
from fairlead.core.profile import Profile
from fairlead.core.redaction import Treatment
from fairlead.core.sketch import FeatureSketch, Tally
from fairlead.core.version import Version, parse_reference
from fairlead.errors import NotFoundError, SpecError
from fairlead.monitor.drift.alarm import Alarm
from fairlead.monitor.drift.budget import WatchOptions, divide, log_threshold
from fairlead.monitor.drift.features import log_columns, observed_features
from fairlead.monitor.drift.findings import Scene, findings_of
from fairlead.monitor.drift.joint import JointWatch
from fairlead.monitor.drift.movement import Movement, movement
from fairlead.monitor.drift.outliers import find_outliers
from fairlead.monitor.drift.seasons import Season, SeasonalReference
from fairlead.monitor.drift.watch import DriftWatch
from fairlead.monitor.sketch.update import empty, merge, update
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

_BESIDE = ("at", "request_id", "row")
_ALTERING = frozenset({Treatment.BUCKET.value, Treatment.HASH.value})
_SHOWN_OUTLIERS = 10
_SEASONS_BACK = 4
_THREADS = 2
_MANY_ROWS, _BLOCK_ROWS = 2**14, 2**16
_KEPT_WINDOWS = 24  # whose sketches are at hand when a change is proven that began in one of them


@dataclass(frozen=True)
class DriftRequest:
    """`model` names a version (digits, digits:3, digits@production) whose last `span_s` seconds up to `until` (None: now) are looked at."""

    model: str
    span_s: float = 86_400.0
    until: float | None = None
    options: WatchOptions = field(default_factory=WatchOptions)
    season: Season | None = None


@dataclass(frozen=True)
class StrangeRow:
    """A row unlike everything in the reference: its request, its place in it, and which features are strange."""

    request_id: str
    row: int
    at: float
    features: tuple[str, ...]


@dataclass(frozen=True)
class DriftReport:
    """What was seen of `model:version` from `since` to `until` in `rows` rows.

    `moved` are features of the inputs and `answers` those of the answers, as in the profile: since they changed where that is proven, else
    over the whole time; `absent` are features that the log does not
    keep. `joint` is the maximum mean discrepancy of all inputs together (NaN: not known). `strange_rows` of the rows are outliers, of
    which `strange` shows some.
    """

    model: str
    version: int
    since: float
    until: float
    rows: int
    windows: int
    options: WatchOptions
    season: Season | None
    reference: str
    moved: tuple[Movement, ...]
    answers: tuple[Movement, ...]
    absent: tuple[str, ...]
    joint: float
    strange_rows: int
    strange: tuple[StrangeRow, ...]
    findings: tuple[Finding, ...]


def report(request: DriftRequest, log: ObservationLog, house: House, progress: Progress) -> DriftReport:
    """Look at what the log kept of the version."""
    if not request.span_s > 0:
        raise SpecError("There has to be some time to look at.", hint="Write it like --since 24h.")
    version = resolve(parse_reference(request.model), records=house.records)
    profile, interface = read_profile(version, house)
    until = house.clock() if request.until is None else request.until
    window_s = request.options.window_s
    since = math.floor((until - request.span_s) / window_s) * window_s  # windows are the same whoever looks, whenever
    looking = _Looking(version, profile, interface, request, log)
    looking.leave_out(altered_columns(version.name, house))
    looking.look(since, until, progress)
    if not looking.rows:
        raise NotFoundError(
            f"Nothing was observed of {version.label} in that time.",
            hint="Rows are kept while a server answers: see `fairlead observe`, or look further back with --since 7d.",
        )
    return looking.conclude(since, until)


def read_profile(version: Version, house: House) -> tuple[Profile, Interface]:
    """Return what a version's data looked like, and its interface; raises NotFoundError where it has no profile."""
    if PROFILE not in {entry.name for entry in version.manifest.files}:
        raise NotFoundError(
            f"{version.label} has no profile of its release's data, so nothing can be held against it.",
            hint="Deploy the model again with real rows: --data rows.csv. Versions before this release of Fairlead have none.",
        )
    profile = load(read_file(version, PROFILE, house.blobs), Profile)
    return profile, load(read_file(version, "interface.json", house.blobs), Interface)


def altered_columns(name: str, house: House) -> frozenset[str]:
    """Return the columns that the log keeps in another form, by rule: against the release's own values, these would look like drift."""
    return frozenset(one.name for one in observing_of(name, house).columns if one.treatment.partition("(")[0] in _ALTERING)


class _Looking:
    """One look: goes through the windows in order and gathers what they show."""

    def __init__(self, version: Version, profile: Profile, interface: Interface, request: DriftRequest, log: ObservationLog) -> None:
        self.rows = self.windows = self.strange_rows = 0
        self._version, self._profile, self._interface, self._request, self._log = version, profile, interface, request, log
        self._watch = DriftWatch(profile, request.options)
        joint_threshold = log_threshold(divide(profile).joint, request.options)
        self._joint = JointWatch(profile, request.options.effect, joint_threshold)
        self._seasonal = SeasonalReference(request.season, request.options.window_s) if request.season is not None else None
        self._features = {feature.name: feature for feature in profile.everything}
        self._whole = {name: empty(feature) for name, feature in self._features.items()}
        self._references: dict[str, Tally] = {}
        self._seen: set[str] = set()
        self._alarms: list[Alarm] = []
        self._strange: list[StrangeRow] = []
        self._latest: deque[tuple[float, Mapping[str, FeatureSketch]]] = deque(maxlen=_KEPT_WINDOWS)
        self._changed: dict[str, FeatureSketch] = {}
        self._columns: tuple[str, ...] = ()
        self._altered: frozenset[str] = frozenset()

    def leave_out(self, columns: frozenset[str]) -> None:
        """Do not look at these columns of the log."""
        self._altered = columns

    def look(self, since: float, until: float, progress: Progress) -> None:
        """Take every window from `since` to `until`, and of a season those before that it is held against."""
        window_s = self._request.options.window_s
        first = since - _SEASONS_BACK * self._request.season.length_s if self._request.season is not None else since
        count = math.ceil((until - first) / window_s)
        progress.step(f"read: {count} windows")
        there = self._log.columns(LogWindow(self._version.name, (self._version.number,), first, until)).keys() - self._altered
        self._columns = tuple(name for name in log_columns(self._profile, self._interface) if name in there)
        for number in range(count):
            start = first + number * window_s
            end = min(start + window_s, until)
            self._window(start, end, is_judged=start >= since)
            progress.tell(f"{number + 1} of {count} windows, {self.rows:,} rows")
        progress.done(f"{self.rows:,} rows in {self.windows} of {count} windows")

    def conclude(self, since: float, until: float) -> DriftReport:
        """Return what came of it."""
        change = self._profile.shuffled_change
        moved = {}
        for name in self._features.keys() & self._seen:
            sketch, reference = self._changed.get(name, self._whole[name]), self._references.get(name)
            moved[name] = movement(self._features[name], sketch, shuffled_change=change, reference=reference)
        first_at = self._log.size(LogWindow(self._version.name, (self._version.number,))).first_at
        scene = Scene(self._version.name, self._version.number, since, until, first_at=first_at if first_at >= since else -math.inf)
        joint = self._joint.distance
        return DriftReport(
            model=self._version.name,
            version=self._version.number,
            since=since,
            until=until,
            rows=self.rows,
            windows=self.windows,
            options=self._request.options,
            season=self._request.season,
            reference=self._profile.source,
            moved=tuple(moved[feature.name] for feature in self._profile.features if feature.name in moved),
            answers=tuple(moved[feature.name] for feature in self._profile.predictions if feature.name in moved),
            absent=tuple(name for name in self._features if name not in moved),
            joint=joint,
            strange_rows=self.strange_rows,
            strange=tuple(self._strange),
            findings=findings_of(self._alarms, moved, self._profile, scene, self._request.options, joint_distance=joint),
        )

    def _window(self, start: float, end: float, *, is_judged: bool) -> None:
        sketches: dict[str, FeatureSketch] = {}
        for piece in in_blocks(self._pieces(start, end)):
            weights = request_weights(piece)
            columns = observed_features(self._profile, self._interface, piece)
            for name in columns.keys() - sketches.keys():
                sketches[name] = empty(self._features[name])
            sketches |= self._updated(sketches, columns, weights)
            if is_judged:
                self.rows += len(piece["at"])
                self._judge_rows(piece, columns, weights)
        if not sketches:
            return
        if is_judged:
            self._judge(start, end, sketches)
        if self._seasonal is not None:
            for name, sketch in sketches.items():
                self._seasonal.learn(start, name, sketch.by_request)

    def _updated(
        self, sketches: Mapping[str, FeatureSketch], columns: Mapping[str, Array], weights: Array | None
    ) -> dict[str, FeatureSketch]:
        """Return the sketches with more rows. Sorting is most of the work for many, and lets other threads run meanwhile."""
        asked = [(sketches[name], self._features[name], values, weights) for name, values in columns.items()]
        if not asked or len(asked[0][2]) < _MANY_ROWS:
            return {name: update(*one) for name, one in zip(columns, asked, strict=True)}
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(columns, pool.map(lambda one: update(*one), asked), strict=True))

    def _judge(self, start: float, end: float, sketches: Mapping[str, FeatureSketch]) -> None:
        self.windows += 1
        references = {} if self._seasonal is None else {name: self._seasonal.reference(start, name) for name in sketches}
        known = {name: tally for name, tally in references.items() if tally is not None}
        alarms = self._watch.step(start, end, sketches, known)
        joint = self._joint.finish(start, end)
        self._alarms += [*alarms, *([joint] if joint is not None else [])]
        self._latest.append((start, sketches))
        self._follow_changes(alarms, sketches)
        for name, sketch in sketches.items():
            self._whole[name] = merge(self._whole[name], sketch)
            self._seen.add(name)
            if name in known:  # of the whole span, each window is held against its own season, in proportion to its rows
                self._references[name] = _plus(self._references.get(name), known[name], sketch.by_row.rows)

    def _follow_changes(self, alarms: Sequence[Alarm], sketches: Mapping[str, FeatureSketch]) -> None:
        """Gather what a feature looks like since it changed: what it was before would only dilute it."""
        for name, before in self._changed.items():
            if name in sketches:
                self._changed[name] = merge(before, sketches[name])
        for alarm in alarms:
            if alarm.feature not in self._changed:
                since = [held[alarm.feature] for start, held in self._latest if start >= alarm.since and alarm.feature in held]
                self._changed[alarm.feature] = functools.reduce(merge, since)

    def _judge_rows(self, piece: Mapping[str, Array], columns: Mapping[str, Array], weights: Array | None) -> None:
        embedding = self._profile.embedding
        if embedding is not None and all(name in columns for name in embedding.features):
            self._joint.add(columns, weights)
        found = find_outliers(self._profile.features, columns)
        if not len(found.counts):
            return
        self.strange_rows += int((found.counts > 0).sum())
        for place in np.argsort(-found.counts, kind="stable")[:_SHOWN_OUTLIERS].tolist():
            if found.counts[place]:
                names = tuple(name for name, is_strange in found.by_feature.items() if is_strange[place])
                row = StrangeRow(str(piece["request_id"][place]), int(piece["row"][place]), float(piece["at"][place]), names)
                self._strange.append(row)
        self._strange = sorted(self._strange, key=lambda row: (-len(row.features), -row.at))[:_SHOWN_OUTLIERS]

    def _pieces(self, start: float, end: float) -> Iterator[Mapping[str, Array]]:
        window = LogWindow(self._version.name, (self._version.number,), start, end)
        yield from self._log.scan(window, (*_BESIDE, *self._columns))


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


def _plus(before: Tally | None, reference: Tally, rows: float) -> Tally:
    """Return a mixture of references: each weighs as much as the rows that were held against it."""
    scale = rows / max(reference.rows, 1.0)
    scaled = Tally(
        reference.rows * scale, reference.missing * scale, reference.outside * scale, reference.fractions * scale, reference.cells * scale
    )
    return scaled if before is None else before + scaled
