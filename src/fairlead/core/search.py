"""What a search over passes tried, found and undid: kept with the version as search.json. Pure values.

Law: every point but the FAILED and DUPLICATE ones was built and run on the selection rows; only KEPT ones keep every requirement that was
measured; `best` and `pareto` name KEPT ones. A point's numbers can be measured again from its candidate's passes, the digests and the seed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.paired import Comparison
from fairlead.core.plan import Candidate


class PointStatus(enum.StrEnum):
    """What became of a trial."""

    KEPT = "kept"  # keeps every requirement that was measured
    REJECTED = "rejected"  # breaks a requirement; the reason names the first
    FAILED = "failed"  # a pass refused the model, crashed, or took too long
    UNDONE = "undone"  # keeps the requirements, but a pass of it did not pay: paired runs show neither faster nor smaller
    DUPLICATE = "duplicate"  # the same model as an earlier trial's, byte for byte


class Objective(enum.StrEnum):
    """What to have as little of as possible once every requirement is kept."""

    LATENCY = "latency"
    SIZE = "size"
    MEMORY = "memory"


@dataclass(frozen=True)
class SearchPoint:
    """One trial. `digest` is that of the model's main file ("" for a failed one).

    `values` are measured on the selection rows, by Requirement.name ("accuracy_drop", "size_mb"). `latency_ms` is the median at batch 1
    where it was timed, `against_baseline` the paired comparison with the fastest model that no pass has touched. `loss` is what the point
    lost in the metric that the floor is about, 0 for the baseline. `chance` is how likely what may be lost keeps its bounds on rows that
    nobody has seen, where that can be told from these; `moved` how many rows the original decides rightly and this one does not, and the
    other way round. `about_ms` is a median of few calls, of a point that broke a floor and was not timed further.
    """

    candidate: Candidate
    digest: str
    status: PointStatus
    size_bytes: int = 0
    compressed_bytes: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    against_baseline: Comparison | None = None
    loss: float = 0.0
    reason: str = ""
    seconds: float = 0.0
    is_cached: bool = False
    chance: float | None = None
    moved: tuple[int, int] | None = None
    about_ms: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """The whole search. `points` in the order in which they were tried; `baseline`, `best` and `pareto` are candidates' names.

    `undone` are (pass, why) of passes that were taken back from the best point. `rows` says which rows served for what. `stopped` says why
    the search ended. `digests` are those of the source, the converted model, the data and the training rows.
    """

    points: tuple[SearchPoint, ...]
    baseline: str
    best: str
    pareto: tuple[str, ...]
    objective: Objective
    seed: int
    budget_s: float
    seconds: float
    stopped: str
    rows: tuple[str, ...] = ()
    undone: tuple[tuple[str, str], ...] = ()
    missing_extras: tuple[tuple[str, str], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def point(self, name: str) -> SearchPoint | None:
        """Return the point of the candidate called `name`; None where there is none."""
        return next((one for one in self.points if one.candidate.name == name), None)
