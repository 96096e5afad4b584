"""All detectors of one version: takes the sketches of window after window, gives alarms within the false-alarm budget. Pure.

A `DriftWatch` is fed windows in order of time, each once; a window without rows is no window. It holds a few kilobytes for each feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import FeatureProfile, Profile
from fairlead.core.sketch import FeatureSketch, Tally
from fairlead.monitor.drift import detector
from fairlead.monitor.drift.alarm import VALUE_ASPECTS, Alarm, Aspect
from fairlead.monitor.drift.budget import WatchOptions, divide, log_threshold
from fairlead.monitor.drift.detector import ODDS, DetectorState
from fairlead.monitor.drift.events import Events, Partition, gained_cells, half_lines, once, partition, rare_events, single_cells
from fairlead.monitor.drift.reference import reference_tally

_MEMORY = 0.9  # of what was seen before, what still counts a window later for the choice of cells that gained


@dataclass
class _Watched:
    """One detector: its state, what it needs, and where in its bets which event lies."""

    state: DetectorState
    weights: Array
    threshold: float
    seen: Array = field(default_factory=lambda: np.zeros(0))


class DriftWatch:
    """Evidence about every feature of a profile that the model uses."""

    def __init__(self, profile: Profile, options: WatchOptions | None = None) -> None:
        self.profile = profile
        self.options = options or WatchOptions()
        shares = divide(profile)
        self._features = {feature.name: feature for feature in profile.everything if feature.name in shares.shape}
        self._partitions = {name: partition(feature) for name, feature in self._features.items()}
        self._shape = {name: self._shape_detector(shares.shape[name], part) for name, part in self._partitions.items() if part.count > 1}
        self._values = {name: self._values_detector(shares.values[name]) for name in self._features}
        # What follows from the profile alone, and from every window anew only where a season stands in for it.
        self._own = {name: reference_tally(feature) for name, feature in self._features.items()}
        self._own_values = {name: _with_unseen(feature, self._own[name]) for name, feature in self._features.items()}
        self._fixed = {
            name: fixed_events(part, part.coarse(self._own[name].cells), self.options.effect, is_own=True) for name, part in self._parts()
        }
        self._starts: list[float] = []

    def step(
        self, since: float, until: float, sketches: Mapping[str, FeatureSketch], references: Mapping[str, Tally] | None = None
    ) -> list[Alarm]:
        """Take the window from `since` to `until` and return the alarms that it raises. `references` stand in for the profile's own
        counts.
        """
        self._starts.append(since)
        alarms = []
        for name, feature in self._features.items():
            sketch = sketches.get(name)
            if sketch is None or not sketch.by_request.rows:
                continue
            season = (references or {}).get(name)
            for found in (
                self._step_shape(feature, sketch.by_request, season),
                self._step_values(feature, sketch.by_request, season or self._own_values[name]),
            ):
                if found is not None:
                    aspect, started, evidence, threshold = found
                    alarms.append(Alarm(name, aspect, self._starts[started], until, evidence, threshold))
        return alarms

    def _shape_detector(self, share: float, part: Partition) -> _Watched:
        fixed = 2 * (part.count - 1) if part.is_ordered else 2 * part.count
        weights = detector.even_weights(fixed * len(ODDS), len(ODDS))
        return _Watched(detector.begin(len(weights)), weights, log_threshold(share, self.options), np.zeros(part.count))

    def _values_detector(self, share: float) -> _Watched:
        weights = detector.even_weights(len(VALUE_ASPECTS) * len(ODDS))
        return _Watched(detector.begin(len(weights)), weights, log_threshold(share, self.options))

    def _parts(self) -> Iterator[tuple[str, Partition]]:
        return ((name, part) for name, part in self._partitions.items() if name in self._shape)

    def _step_shape(self, feature: FeatureProfile, live: Tally, season: Tally | None) -> tuple[Aspect, int, float, float] | None:
        watched = self._shape.get(feature.name)
        if watched is None:
            return None
        part = self._partitions[feature.name]
        live_cells, effect = part.coarse(live.cells), self.options.effect
        if season is None:
            reference, fixed = part.coarse(self._own[feature.name].cells), self._fixed[feature.name]
            bets, watched.seen = shape_bets(part, reference, live_cells, watched.seen, effect, fixed, part.slack)
        else:
            bets, watched.seen = shape_bets(part, part.coarse(season.cells), live_cells, watched.seen, effect)
        found = self._advance(watched, bets)
        return found and (Aspect.SHAPE, *found[:3])

    def _step_values(self, feature: FeatureProfile, live: Tally, reference: Tally) -> tuple[Aspect, int, float, float] | None:
        watched = self._values[feature.name]
        found = self._advance(watched, value_bets(feature, live, reference, self.options.values_effect))
        return found and (VALUE_ASPECTS[found[3] // len(ODDS)], *found[:3])

    def _advance(self, watched: _Watched, bets: Array) -> tuple[int, float, float, int] | None:
        """Return the window in which the change began, the evidence, its threshold and the bet that won most, where there is an alarm."""
        # Windows are numbered by all detectors alike, also by one that saw no row in some of them.
        state = DetectorState(watched.state.logs, watched.state.runs, watched.state.starts, len(self._starts) - 1)
        watched.state = detector.step(state, bets)
        evidence = float(detector.log_evidence(watched.state, watched.weights))
        if evidence < watched.threshold:
            return None
        best = int(np.argmax(watched.state.logs + watched.weights))
        found = (detector.onset(watched.state, watched.weights), evidence, watched.threshold, best)
        watched.state = detector.restarted(watched.state)
        return found


def fixed_events(part: Partition, reference: Array, effect: float, *, is_own: bool = False) -> Events:
    """Return the sets of cells that are bet on whatever was seen. Coarse counts (..., cells); `is_own`: of the data that chose these."""
    return half_lines(reference, effect) if part.is_ordered else single_cells(reference, effect, part if is_own else None)


def shape_bets(
    part: Partition,
    reference: Array,
    live: Array,
    seen: Array,
    effect: float,
    fixed: Events | None = None,
    slack: Array | float = 0.0,
) -> tuple[Array, Array]:
    """Return the bets on a distribution in one window, and what will have been seen after it. Coarse counts (..., cells) everywhere.

    Half of the wealth is on fixed sets of cells (None: `fixed_events`), half on the set that gained in the windows before; `slack` is that
    of the partition where the reference is what it was chosen by.
    """
    fixed = fixed_events(part, reference, effect) if fixed is None else fixed
    chosen = gained_cells(reference, seen, effect, slack)
    trials = live.sum(axis=-1)[..., None]
    bets = detector.log_bets(live @ fixed.members.T, trials, fixed.limits)
    hits = (chosen.members * live[..., None, :]).sum(axis=-1)
    has_seen = (seen.sum(axis=-1) > 0)[..., None]
    gained = np.where(has_seen, detector.log_bets(hits, trials, chosen.limits), 0.0)
    return np.concatenate([bets, gained], axis=-1), _MEMORY * seen + live


def value_bets(feature: FeatureProfile, live: Tally, reference: Tally, effect: float) -> Array:
    """Return the bets on what is missing, out of range, unseen, or no whole number, in the order of VALUE_ASPECTS."""
    hits, trials = _value_counts(feature, live)
    before, known = _value_counts(feature, reference)
    shares = before / np.maximum(known, 1.0)
    limits = rare_events(shares, known, effect)
    limits = np.where(known > 0, limits, 1.0)  # nothing is known of what the reference never had
    return detector.log_bets(hits, trials, limits)


def _value_counts(feature: FeatureProfile, tally: Tally) -> tuple[Array, Array]:
    present = max(tally.rows - tally.missing, 0.0)
    unseen = 0.0 if feature.kind.is_number or not len(tally.cells) else float(tally.cells[-1])
    hits = np.array([tally.missing, tally.outside, unseen, tally.fractions])
    return hits, np.array([tally.rows, present, present, present])


def _with_unseen(feature: FeatureProfile, tally: Tally) -> Tally:
    """Return a release's counts with as many unseen rows as are expected of others: one for each category that occurs once."""
    return replace(tally, cells=np.append(tally.cells[:-1], float(once(feature)))) if once(feature) else tally
