"""What the data plane tells of the requests that a release divides: answered, compared, not compared, not answered by their arm.

Pure values. A named tuple is made four times as fast as a frozen dataclass, and one is made for every such request.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.core.evidence import Outcome
from fairlead.core.interface import Interface, Label, Tensors


class ComparisonKind(enum.StrEnum):
    """What a request was run on besides, after it had been answered."""

    SHADOW = "shadow"  # the candidate
    TWIN = "twin"  # the uncompressed original of the version that answered


class Gap(enum.StrEnum):
    """Why a request was not compared, or not answered by the arm that it was drawn for."""

    BUSY = "busy"  # too many wait to be compared already
    LATE = "late"  # it waited too long to be compared
    FAILED = "failed"  # the version that was to answer could not be loaded, or failed to answer
    LOADING = "loading"
    ASLEEP = "asleep"  # others needed the memory; it is being loaded again
    MISFIT = "misfit"  # it takes other inputs, or lacks an output


class Answered(NamedTuple):
    """One divided request. `is_drawn`: by chance; else by a segment. `outputs` and the `interface` that says what they mean are there for
    an answer that late labels may be compared with. `own_id` is what the caller calls the request in its body, "" for nothing.
    """

    model: str
    release: str
    step: int
    arm: str
    version: int
    outcome: Outcome
    latency_ns: int
    is_drawn: bool = True
    request_id: str = ""
    own_id: str = ""
    interface: Interface | None = None
    outputs: Tensors | None = None


class Compared(NamedTuple):
    """One request, answered by `arm` and then by `version` too: whether any row is decided differently, the largest difference of a number
    (infinite where one side has none), and what both took to compute. `is_evidence`: about a version that a release tries, by chance.
    """

    model: str
    release: str
    step: int
    arm: str
    version: int
    kind: ComparisonKind
    is_flip: bool
    largest_difference: float
    latency_ns: int
    live_latency_ns: int
    is_evidence: bool = True


class Missed(NamedTuple):
    """One request that was not compared (`kind`), or that `arm` should have answered and the live one did (`kind` is None)."""

    model: str
    release: str
    step: int
    arm: str
    version: int
    gap: Gap
    kind: ComparisonKind | None = None
    is_evidence: bool = True


@dataclass(frozen=True)
class LateLabel:
    """The right answer to a request, known later: one label for each of its rows."""

    request_id: str
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Joining:
    """What became of late labels: joined to an answer of a release; of a request that no release knows (too long ago, or there is none) and
    lost; of one that the release knows as labelled; whose id several requests had; and, of those that no release knows, `kept` in the
    observation log, where they are joined to their requests when those are looked at.
    """

    joined: int = 0
    unknown: int = 0
    duplicate: int = 0
    ambiguous: int = 0
    kept: int = 0


@dataclass(frozen=True)
class TrafficReading:
    """What was counted of divided requests, for metrics, by labels: (model, arm, version, outcome) of requests; (model, arm, version, gap)
    of those that the arm could not answer; (model, version, kind) of comparisons, of them with another decision, and their largest
    difference; (model, version, kind, gap) of what was not compared; (model, result) of late labels.
    """

    requests: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    fallbacks: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    comparisons: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    flips: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    differences: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    dropped: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    labels: Mapping[tuple[str, ...], int] = field(default_factory=dict)
