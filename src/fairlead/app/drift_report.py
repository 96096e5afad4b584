"""Which inputs of a served version moved, by how much, whether the model uses them, what it may cost and what to do.

`report` takes a DriftRequest, reads the observation log window by window and gives a DriftReport: what was measured of every feature, and
the findings that are proven within the false-alarm budget. Raises NotFoundError where the version has no profile or the log no rows,
SpecError for times that make no sense, and what the stores raise. It changes nothing.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.app.drift_history import History, open_archive
from fairlead.app.drift_windows import Source, windows_at_once
from fairlead.app.observing_rules import observing_of
from fairlead.app.profiling import PROFILE
from fairlead.app.wiring import House
from fairlead.core.finding import Finding
from fairlead.core.interface import Interface
from fairlead.core.observation_log import ObservationLog
from fairlead.core.ports import Progress
from fairlead.core.profile import Profile
from fairlead.core.redaction import Treatment
from fairlead.core.sketch import FeatureSketch, Tally
from fairlead.core.sketch_window import StrangeRow, WindowSketch
from fairlead.core.version import Version, parse_reference
from fairlead.errors import NotFoundError, SpecError
from fairlead.monitor.drift.alarm import Alarm
from fairlead.monitor.drift.budget import WatchOptions, divide, log_threshold
from fairlead.monitor.drift.findings import Scene, findings_of
from fairlead.monitor.drift.joint import JointWatch
from fairlead.monitor.drift.movement import Movement, movement
from fairlead.monitor.drift.seasons import Season, SeasonalReference
from fairlead.monitor.drift.watch import DriftWatch
from fairlead.monitor.sketch.update import empty, merge
from fairlead.monitor.sketch.windows import strangest
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

_ALTERING = frozenset(one.value for one in (Treatment.BUCKET, Treatment.HASH, Treatment.DROP, Treatment.SUMMARY))
_SEASONS_BACK = 4


@dataclass(frozen=True)
class DriftRequest:
    """`model` names a version (digits, digits:3, digits@production) whose last `span_s` seconds up to `until` (None: now) are looked at.

    `is_catching_up`: sketches that are missing of the time before are made as well, so that they are there when the rows are gone.
    """

    model: str
    span_s: float = 86_400.0
    until: float | None = None
    options: WatchOptions = field(default_factory=WatchOptions)
    season: Season | None = None
    is_catching_up: bool = False


@dataclass(frozen=True)
class DriftReport:
    """What was seen of `model:version` from `since` to `until` in `rows` rows, which stand for `weight` rows where some were not kept.

    `moved` are features of the inputs and `answers` those of the answers, as in the profile: since they changed where that is proven, else
    over the whole time; `absent` are features that the log does not keep. `joint` is the maximum mean discrepancy of all inputs together
    (NaN: not known). `strange_rows` of the rows are outliers, of which `strange` shows some. `notes` say what else one should know.
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
    weight: float = 0.0
    notes: tuple[str, ...] = ()


def report(request: DriftRequest, log: ObservationLog, house: House, progress: Progress) -> DriftReport:
    """Look at what the log kept of the version."""
    if not request.span_s > 0:
        raise SpecError("There has to be some time to look at.", hint="Write it like --since 24h.")
    version = resolve(parse_reference(request.model), records=house.records)
    profile, interface = read_profile(version, house)
    until = house.clock() if request.until is None else request.until
    window_s = request.options.window_s
    since = math.floor((until - request.span_s) / window_s) * window_s  # windows are the same whoever looks, whenever
    source = Source(log, version, profile, interface, altered_columns(version.name, house))
    key = next(entry.digest for entry in version.manifest.files if entry.name == PROFILE)
    history = History(source, open_archive(house), key=key, now=house.clock())
    if request.is_catching_up:
        history.catch_up(since)
    looking = _Looking(version, profile, request, history)
    looking.look(since, until, progress)
    if not looking.rows:
        raise NotFoundError(
            f"Nothing was observed of {version.label} in that time.",
            hint="A server writes what it answers every few seconds: see `fairlead observe`, or look further back with --since 7d.",
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
    inputs = {feature.name for feature in profile.features}
    # Profiles of the first days called an answer like an input that had its name; such an answer is not watched.
    profile = replace(profile, predictions=tuple(feature for feature in profile.predictions if feature.name not in inputs))
    return profile, load(read_file(version, "interface.json", house.blobs), Interface)


def altered_columns(name: str, house: House) -> frozenset[str]:
    """Return the columns that the log keeps in another form, or no more, by rule: against the release's values these would look moved."""
    return frozenset(one.name for one in observing_of(name, house).columns if one.treatment.partition("(")[0] in _ALTERING)


class _Looking:
    """One look: goes through the windows in order and gathers what they show."""

    def __init__(self, version: Version, profile: Profile, request: DriftRequest, history: History) -> None:
        self.rows = self.windows = self.strange_rows = 0
        self._weight = 0.0
        self._version, self._profile, self._request, self._history = version, profile, request, history
        self._watch = DriftWatch(profile, request.options)
        joint_threshold = log_threshold(divide(profile).joint, request.options)
        self._joint = JointWatch(profile, request.options.effect, joint_threshold)
        self._seasonal = SeasonalReference(request.season, request.options.window_s) if request.season is not None else None
        self._features = {feature.name: feature for feature in profile.everything}
        self._whole = {name: empty(feature) for name, feature in self._features.items()}
        self._references: dict[str, Tally] = {}
        self._seen: set[str] = set()
        self._alarms: list[Alarm] = []
        self._strange: tuple[StrangeRow, ...] = ()
        # Windows whose sketches are at hand when a change is proven that began in one of them.
        self._latest: deque[tuple[float, Mapping[str, FeatureSketch]]] = deque(maxlen=windows_at_once(profile))
        self._changed: dict[str, FeatureSketch] = {}

    def look(self, since: float, until: float, progress: Progress) -> None:
        """Take every window from `since` to `until`, and of a season those before that it is held against."""
        window_s = self._request.options.window_s
        first = since - _SEASONS_BACK * self._request.season.length_s if self._request.season is not None else since
        kept_at = self._history.first_at
        if kept_at > first:  # nothing is looked for where nothing can be
            first += math.floor((kept_at - first) / window_s) * window_s
        count = max(math.ceil((until - first) / window_s), 0)
        progress.step(f"read: {count} windows")
        for window in self._history.windows(first, until, window_s):
            if window.end > since:
                self._judge(window)
            if self._seasonal is not None and window.end - window.start <= window_s:  # of a whole day nobody knows the hours any more
                for name, sketch in window.features.items():
                    self._seasonal.learn(window.start, name, sketch.by_request)
            progress.tell(f"{math.ceil((window.end - first) / window_s)} of {count} windows, {self.rows:,} rows")
        progress.done(f"{self.rows:,} rows in {self.windows} of {count} windows")

    def conclude(self, since: float, until: float) -> DriftReport:
        """Return what came of it."""
        change = self._profile.shuffled_change
        moved = {}
        for name in self._features.keys() & self._seen:
            sketch, reference = self._changed.get(name, self._whole[name]), self._references.get(name)
            moved[name] = movement(self._features[name], sketch, shuffled_change=change, reference=reference)
        first_at = self._history.first_at
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
            strange=self._strange,
            findings=findings_of(self._alarms, moved, self._profile, scene, self._request.options, joint_distance=joint),
            weight=self._weight,
            notes=tuple(self._history.notes),
        )

    def _judge(self, window: WindowSketch) -> None:
        sketches = window.features
        self.windows += 1
        self.rows += window.rows
        self._weight += window.weight
        self.strange_rows += window.strange_rows
        self._strange = strangest([*self._strange, *window.strange])
        references = {} if self._seasonal is None else {name: self._seasonal.reference(window.start, name) for name in sketches}
        known = {name: tally for name, tally in references.items() if tally is not None}
        alarms = self._watch.step(window.start, window.end, sketches, known)
        joint = self._joint.step(window.start, window.end, window.joint)
        self._alarms += [*alarms, *([joint] if joint is not None else [])]
        self._latest.append((window.start, sketches))
        self._follow_changes(alarms, sketches)
        for name, sketch in sketches.items():
            self._whole[name] = merge(self._whole[name], sketch)
            self._seen.add(name)
            if name in known:  # of the whole span, each window is held against its own season, in proportion to its rows
                self._references[name] = _plus(self._references.get(name), known[name], sketch.by_row.effective)

    def _follow_changes(self, alarms: Sequence[Alarm], sketches: Mapping[str, FeatureSketch]) -> None:
        """Gather what a feature looks like since it changed: what it was before would only dilute it."""
        for name, before in self._changed.items():
            if name in sketches:
                self._changed[name] = merge(before, sketches[name])
        for alarm in alarms:
            if alarm.feature not in self._changed:
                since = [held[alarm.feature] for start, held in self._latest if start >= alarm.since and alarm.feature in held]
                self._changed[alarm.feature] = functools.reduce(merge, since)


def _plus(before: Tally | None, reference: Tally, rows: float) -> Tally:
    """Return a mixture of references: each weighs as much as the rows that were held against it."""
    scaled = replace(reference.scaled(rows / max(reference.rows, 1.0)), surplus=0.0)
    return scaled if before is None else before + scaled
