"""What is bet on: events that a reference gives chances to, and how much these may be off. Pure.

Takes cells of a reference; gives `Events`: sets of cells with, for each, the largest chance that a live row may have to fall into it while
nothing that matters has changed. Three things go into that limit:

    share in the reference                      p
    what the reference does not know, having    sqrt(ln(2 k / alpha) / (2 R)) for each of k sets (Hoeffding 1963), or for half-lines
    only R rows itself; alpha = 1 %             sqrt(ln(2 / alpha) / (2 R)) whatever their number (Dvoretzky-Kiefer-Wolfowitz, Massart 1990)
    the smallest effect that counts             delta: where the total variation distance is delta at most, every set's chance moves by
    delta
                                                at most

so as long as live and reference data are within delta of each other, no limit is passed, but for a reference that is one of the unlucky 1
%. All functions take cells with any leading axes, (..., cells).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import COARSE_COUNT, FeatureProfile

DOUBT = 0.01  # the chance that a reference is unluckier than what its limits allow for


@dataclass(frozen=True)
class Partition:
    """Which coarse cell each of a profile's cells belongs to; `is_ordered` where they lie on a line.

    Where the release's own data decided which categories have a cell of their own, `choices` is how many there were to choose from, and
    `slack` (count,) what the cells' shares in these data leave out beside that: see `partition`.
    """

    places: Array = field(repr=False)
    count: int
    is_ordered: bool
    choices: int = 0
    slack: Array = field(default_factory=lambda: np.zeros(1), repr=False)

    def coarse(self, cells: Array) -> Array:
        """Return the counts of the coarse cells, (..., count)."""
        found: Array = np.asarray(cells, dtype=np.float64) @ self._matrix
        return found

    @cached_property
    def _matrix(self) -> Array:
        matrix = np.zeros((len(self.places), self.count))
        matrix[np.arange(len(self.places)), self.places] = 1.0
        return matrix


def partition(profile: FeatureProfile) -> Partition:
    """Return at most COARSE_COUNT cells of about the same number of reference rows for a number; for a category the largest ones, all
    others together, and those that were never seen.

    A sample makes its largest categories look larger than they are, and the others smaller, by the largest error of any set at most
    (`_spread`). And it does not have all that there are: the chance of those that it lacks is about the share of its rows whose category
    occurs once (Good, "The population frequencies of species", Biometrika 40 (1953)).
    """
    cells = profile.cells
    if profile.kind.is_number:
        middle = np.cumsum(cells) - cells / 2.0
        raw = np.minimum((middle / max(cells.sum(), 1.0) * COARSE_COUNT).astype(np.int64), COARSE_COUNT - 1)
        places = np.unique(raw, return_inverse=True)[1]
        return Partition(places, int(places.max()) + 1, is_ordered=True)
    named = len(cells) - 2
    kept = min(named, COARSE_COUNT - 2)
    order = np.argsort(-cells[:named], kind="stable")
    places = np.full(len(cells), kept)
    places[order[:kept]] = np.arange(kept)
    places[-1] = kept + 1
    slack = np.zeros(kept + 2)
    rows = max(float(cells.sum()), 1.0)
    slack[-2] = _spread(cells / rows, rows) if named > kept else 0.0
    slack[-1] = float(rare_events(np.array([once(profile) / rows]), np.array([rows]), 0.0)[0])
    return Partition(places, kept + 2, is_ordered=False, choices=len(cells), slack=slack)


def once(profile: FeatureProfile) -> int:
    """Return how many categories occur once, where the profile lists them all: where it does not, new ones are not told from others."""
    return 0 if profile.rest or profile.kind.is_number else profile.counts.count(1)


def expected_cells(profile: FeatureProfile) -> Array:
    """Return a profile's cells as live rows are expected in them: categories that occur once stand for those that it lacks."""
    cells = profile.cells
    if not once(profile):
        return cells
    expected = np.where(cells == 1.0, 0.0, cells)
    expected[-1] = once(profile)
    return expected


@dataclass(frozen=True)
class Events:
    """Sets of coarse cells: `members` (sets, cells) of 0 and 1, and each one's `limits` (..., sets)."""

    members: Array = field(repr=False)
    limits: Array = field(repr=False)


def half_lines(reference: Array, effect: float) -> Events:
    """Return every set of cells below an edge, and above it, with limits from the reference's counts (..., cells)."""
    count = reference.shape[-1]
    below = np.tril(np.ones((count, count)))[:-1]
    return _limited(np.concatenate([below, 1.0 - below]), reference, effect, sets=1)


def single_cells(reference: Array, effect: float, own: Partition | None = None) -> Events:
    """Return every cell and everything but it, likewise; `own` is the partition where the reference is what it was chosen by."""
    count = reference.shape[-1]
    alone = np.eye(count)
    events = _limited(np.concatenate([alone, 1.0 - alone]), reference, effect, sets=max(count, own.choices if own else 0))
    if own is None:
        return events
    without = np.zeros(count)
    without[-2] = own.slack[-1]  # all but the others: what the reference lacks, it counts among the others that it has
    return Events(events.members, np.minimum(events.limits + np.concatenate([own.slack, without]), 1.0))


def gained_cells(reference: Array, seen: Array, effect: float, slack: Array | float = 0.0) -> Events:
    """Return the one set of cells that had gained in `seen`, counts of what came before, (..., 1, cells); nothing where nothing was seen.

    Which cells these are hangs on the reference's own errors, so its limit allows for the largest error of any set: the total variation
    distance of R rows from what they were drawn of, on average at most sum sqrt(p (1 - p) / R) / 2, and with probability 1 - alpha by no
    more than sqrt(ln(1 / alpha) / (2 R)) above that (McDiarmid 1989).
    """
    before, total = _shares(reference)
    after, _ = _shares(seen)
    members = (after > before).astype(np.float64)
    doubt = _spread(before, total[..., None]) + np.sqrt(math.log(1.0 / DOUBT) / (2.0 * total))
    limits = (members * (before + slack)).sum(axis=-1) + doubt + effect
    return Events(members[..., None, :], np.minimum(limits, 1.0)[..., None])


def rare_events(shares: Array, rows: Array, effect: float) -> Array:
    """Return limits for events that had those `shares` (..., events) of the reference's `rows`: what is missing, unseen or out of range.

    Bernstein's bound: for rare events it allows for much less than Hoeffding's (Boucheron, Lugosi, Massart, "Concentration inequalities",
    Oxford 2013, section 2.8), here with the share that the bound itself gives in place of the true one.
    """
    term = math.log(shares.shape[-1] / DOUBT) / np.maximum(np.asarray(rows, dtype=np.float64), 1.0)
    upper = shares + 2.0 * term + np.sqrt(2.0 * shares * term)
    return np.minimum(upper + effect, 1.0)


def _spread(shares: Array, rows: Array | float) -> Array:
    """Return how large the largest error of any set of cells is at most, on average, in a sample of so many rows."""
    found: Array = np.sqrt(shares * (1.0 - shares) / rows).sum(axis=-1) / 2.0
    return found


def _limited(members: Array, reference: Array, effect: float, *, sets: int) -> Events:
    shares, total = _shares(reference)
    doubt = np.sqrt(math.log(2.0 * sets / DOUBT) / (2.0 * total))
    return Events(members, np.minimum(shares @ members.T + doubt[..., None] + effect, 1.0))


def _shares(counts: Array) -> tuple[Array, Array]:
    total = np.maximum(np.asarray(counts, dtype=np.float64).sum(axis=-1), 1.0)
    return counts / total[..., None], total
