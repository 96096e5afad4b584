"""All inputs together: whether they hang together as in the reference, though each alone may look as it did. Pure.

A row becomes a point: a number its place among the reference's quantiles, a category a fixed place of its own, each scaled by how much the
model uses the feature, so that one which it does not use moves no point. Random Fourier features phi (Rahimi, Recht, "Random features for
large-scale kernel machines", NIPS 2007) turn the Gaussian kernel's maximum mean discrepancy (Gretton, Borgwardt, Rasch, Schoelkopf, Smola,
"A kernel two-sample test", JMLR 13 (2012)) into the distance of two means, so that the reference needs to keep a mean only, and no rows.

The test bets on a direction w of length 1, in which the windows before had moved: as long as the discrepancy is `effect` at most, the mean
of g = <w, phi(x) - reference mean> is at most effect plus what the reference does not know, and 1 + lambda (g - limit) is fair or worse.
This is the betting two-sample test of Shekhar, Ramdas, "Nonparametric two-sample testing by betting", IEEE Transactions on Information
Theory 70 (2024), against a reference that is known up to its own error. The error of a mean of R vectors whose squared length is 2 at most
is, on average, 1 / sqrt(R) at most, and with probability 1 - alpha by no more than sqrt(4 ln(1 / alpha) / R) above that (McDiarmid 1989).

A window keeps GROUPS sums, not rows: a request belongs to a group by its id, and each group makes one bet on the mean of its requests. The
product of these bets is the average, over all ways to take one request from each group, of products of bets on single requests, which are
fair one after another; so it is fair. It wins less than a bet on every row, and can be kept for ever, and merged.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import Embedding, FeatureProfile, Profile
from fairlead.core.sketch_window import JointSketch
from fairlead.monitor.drift import detector
from fairlead.monitor.drift.alarm import Alarm, Aspect
from fairlead.monitor.drift.events import DOUBT
from fairlead.monitor.sketch.columns import as_numbers, category_text, is_missing

JOINT = "(all inputs together)"
DIMENSIONS = 128
GROUPS = 32
_FRACTIONS = np.array([0.1, 0.3, 0.6, 0.9])  # of the largest bet that cannot lose everything
_MEMORY = 0.9
_UNIT = math.sqrt(12.0)  # a uniform number has a standard deviation of 1 / sqrt(12)


def points(features: tuple[FeatureProfile, ...], columns: Mapping[str, Array]) -> Array:
    """Return rows as points (rows, features); what is missing lies in the middle, and so does a feature that the model does not use."""
    placed = [_places(feature, columns[feature.name]) * scale for feature, scale in zip(features, _scales(features), strict=True)]
    return np.stack(placed, axis=1)


def fourier(embedding: Embedding, placed: Array) -> Array:
    """Return the random Fourier features of points, (rows, DIMENSIONS); rows have a squared length of 2 at most, of 1 on average."""
    generator = np.random.default_rng(embedding.seed)
    waves = generator.normal(size=(placed.shape[1], len(embedding.mean))) / embedding.scale
    phases = generator.uniform(0.0, 2.0 * math.pi, size=len(embedding.mean))
    found: Array = math.sqrt(2.0 / len(embedding.mean)) * np.cos(placed @ waves + phases)
    return found


def embed(features: tuple[FeatureProfile, ...], columns: Mapping[str, Array], *, seed: int) -> Embedding | None:
    """Return the mean of a release's rows; None where there are fewer than two features that count."""
    if sum(scale > 0 for scale in _scales(features)) < 2:
        return None
    placed = points(features, columns)
    scale = math.sqrt(float((placed**2).sum(axis=1).mean())) or 1.0
    blank = Embedding(tuple(feature.name for feature in features), seed, scale, len(placed), (0.0,) * DIMENSIONS)
    return Embedding(blank.features, seed, scale, len(placed), tuple(fourier(blank, placed).mean(axis=0).tolist()))


def discrepancy(embedding: Embedding, moved: Array, rows: float) -> float:
    """Return the maximum mean discrepancy of the reference and `rows` rows whose Fourier features, less the reference's mean, have the mean
    `moved`. What chance adds to its square is taken off on average; NaN where there are too few rows.
    """
    if min(rows, embedding.rows) < 2:
        return math.nan
    mean = np.asarray(embedding.mean)
    chance = sum(max(1.0 - float(centre @ centre), 0.0) / (count - 1.0) for centre, count in ((mean, embedding.rows), (mean + moved, rows)))
    return math.sqrt(max(float(moved @ moved) - chance, 0.0))


def joint_sketch(
    profile: Profile,
    columns: Mapping[str, Array],
    request_ids: Iterable[str],
    *,
    weights: Array | None = None,
    stands_for: Array | None = None,
) -> JointSketch | None:
    """Return the sketch of rows; `weights` and `stands_for` are those of `monitor.sketch.update`. None where the profile has no embedding,
    or the rows lack one of its features.
    """
    embedding = profile.embedding
    if embedding is None or not all(name in columns for name in embedding.features):
        return None
    moved = fourier(embedding, points(_features(profile, embedding), columns)) - np.asarray(embedding.mean)
    weight = np.ones(len(moved)) if weights is None else weights
    times = np.ones(len(moved)) if stands_for is None else stands_for
    groups = np.array([zlib.crc32(name.encode(errors="surrogatepass")) % GROUPS for name in request_ids], np.int64)
    belongs = np.zeros((GROUPS, len(moved)))
    belongs[groups, np.arange(len(moved))] = weight
    return JointSketch(belongs @ moved, belongs.sum(axis=1), times @ moved, float(times.sum()), float((times**2).sum()))


@dataclass
class JointWatch:
    """The detector of all inputs together, fed with windows in order of time."""

    profile: Profile
    effect: float
    threshold: float
    state: detector.DetectorState = field(default_factory=lambda: detector.begin(len(_FRACTIONS)))
    _moved: Array = field(default_factory=lambda: np.zeros(DIMENSIONS))
    _whole: JointSketch | None = None
    _starts: list[float] = field(default_factory=list)

    def step(self, since: float, until: float, sketch: JointSketch | None) -> Alarm | None:
        """Take the window from `since` to `until`, and return the alarm that it raises."""
        embedding = self.profile.embedding
        if embedding is None or sketch is None or not sketch.requests.any():
            return None
        self._whole = sketch if self._whole is None else self._whole + sketch
        self._starts.append(since)
        self.state = detector.step(self.state, self._bets(embedding, sketch))
        self._moved = _MEMORY * self._moved + sketch.sums.sum(axis=0)
        weights = detector.even_weights(len(_FRACTIONS))
        evidence = float(detector.log_evidence(self.state, weights))
        if evidence < self.threshold:
            return None
        began = self._starts[detector.onset(self.state, weights)]
        self.state = detector.restarted(self.state)
        return Alarm(JOINT, Aspect.JOINT, began, until, evidence, self.threshold)

    @property
    def distance(self) -> float:
        """The maximum mean discrepancy over all rows so far."""
        embedding, whole = self.profile.embedding, self._whole
        if embedding is None or whole is None:
            return math.nan
        return discrepancy(embedding, whole.total / whole.weight, whole.weight**2 / whole.squares)

    def _bets(self, embedding: Embedding, sketch: JointSketch) -> Array:
        length = float(np.linalg.norm(self._moved))
        if not length > 0:
            return np.zeros(len(_FRACTIONS))
        limit = self.effect + doubt(embedding.rows)
        largest = 1.0 / (math.sqrt(2.0) + float(np.linalg.norm(embedding.mean)) + limit)
        is_there = sketch.requests > 0
        means = sketch.sums[is_there] / sketch.requests[is_there, None]
        gains = means @ (self._moved / length) - limit
        found: Array = np.minimum(sketch.requests[is_there], 1.0) @ np.log1p(np.multiply.outer(gains, _FRACTIONS * largest))
        return found


def _features(profile: Profile, embedding: Embedding) -> tuple[FeatureProfile, ...]:
    return tuple(feature for feature in profile.features if feature.name in embedding.features)


def doubt(rows: int) -> float:
    """Return how far the mean of so many rows may be from the true one."""
    return (1.0 + math.sqrt(4.0 * math.log(1.0 / DOUBT))) / math.sqrt(max(rows, 1))


def _scales(features: tuple[FeatureProfile, ...]) -> list[float]:
    known = [feature.use for feature in features if feature.use is not None]
    most = max(known, default=0.0) or 1.0
    return [0.0 if not feature.is_used else math.sqrt((most if feature.use is None else feature.use) / most) for feature in features]


def _places(feature: FeatureProfile, values: Array) -> Array:
    """Return places with a mean of about 0 and a standard deviation of about 1; 0 for what is missing."""
    if not feature.kind.is_number:
        missing = is_missing(values)
        place_of = {value: _fixed_place(category_text(value)) for value in set(values[~missing].tolist())}
        return np.array([0.0 if gone else place_of[value] for value, gone in zip(values.tolist(), missing.tolist(), strict=True)])
    numbers = as_numbers(values)
    edges = np.concatenate([[feature.low], np.asarray(feature.edges, dtype=np.float64), [feature.high]])
    heights = np.concatenate([[0.0], np.cumsum(feature.counts)]) / max(sum(feature.counts), 1)
    found: Array = np.where(np.isnan(numbers), 0.0, (np.interp(numbers, edges, heights) - 0.5) * _UNIT)
    return found


def _fixed_place(text: str) -> float:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "little") / 2.0**64 - 0.5) * _UNIT
