"""What has to hold in a soak, as a pure function of what was seen: `violations`."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field

ALLOWED = {200, 503, 504}  # to a good request: while workers are killed, a typed refusal is an answer too
WAIT_LIMIT_S = 20.0
BLIND_LIMIT_S = 15.0
GROWTH_LIMIT_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Answer:
    """What became of one good request: when it was sent and answered (monotonic seconds), by which version, and whether rightly."""

    sent_at: float
    answered_at: float
    status: int
    version: int = 0
    is_right: bool = True
    text: str = ""


@dataclass
class Evidence:
    """What was seen. Memory and descriptors are of the server's own process; `promotions` are (when the command returned, version)."""

    answers: list[Answer] = field(default_factory=list)
    bad_statuses: Counter[int] = field(default_factory=Counter)
    promotions: list[tuple[float, int]] = field(default_factory=list)
    refused_promotion_count: int = 0
    kill_count: int = 0
    cancelled_count: int = 0
    lost: list[str] = field(default_factory=list)
    is_live: list[bool] = field(default_factory=list)
    unready_s: float = 0.0
    memory_bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    exit_status: int | None = None
    faults: list[str] = field(default_factory=list)


def violations(evidence: Evidence, switch_bound_s: float) -> list[str]:
    """Return every invariant that does not hold. Pure."""
    found = list(evidence.faults)
    answers = evidence.answers
    found += [f"lost: {text}" for text in evidence.lost[:5]]
    found += [
        f"a wrong answer of version {answer.version}: {answer.text}" for answer in answers if answer.status == 200 and not answer.is_right
    ][:5]
    found += [f"status {answer.status}: {answer.text}" for answer in answers if answer.status not in ALLOWED][:5]
    slowest = max((answer.answered_at - answer.sent_at for answer in answers), default=0.0)
    if slowest > WAIT_LIMIT_S:
        found.append(f"somebody waited {slowest:.1f} s")
    found += [
        f"version {answer.version} answered what was sent {late:.1f} s after another was promoted"
        for answer, late in stale(evidence, switch_bound_s)
    ][:5]
    found += [f"a bad request was answered with {status}" for status in evidence.bad_statuses if not 400 <= status < 500]
    if not all(evidence.is_live):
        found.append(f"the server was not live {evidence.is_live.count(False)} times")
    if evidence.unready_s > BLIND_LIMIT_S:
        found.append(f"the server was not ready for {evidence.unready_s:.1f} s")
    growth = grown(evidence.memory_bytes)
    if growth > GROWTH_LIMIT_BYTES:
        found.append(f"memory grew by {growth / 2**20:.0f} MiB in the second half")
    if evidence.descriptors and evidence.descriptors[-1] > evidence.descriptors[0] + 8:
        found.append(f"descriptors grew from {evidence.descriptors[0]} to {evidence.descriptors[-1]}")
    if not any(answer.status == 200 for answer in answers):
        found.append("nothing was answered")
    if evidence.exit_status != 0:
        found.append(f"the server ended with {evidence.exit_status}")
    return found


def stale(evidence: Evidence, bound_s: float) -> list[tuple[Answer, float]]:
    """Return answers of a version that had been replaced more than `bound_s` before they were asked for, and how late that is."""
    found = []
    for answer in evidence.answers:
        before = [moved for moved in evidence.promotions if moved[0] <= answer.sent_at]
        during = {version for at, version in evidence.promotions if answer.sent_at <= at <= answer.answered_at + bound_s}
        if answer.status == 200 and before and answer.version != before[-1][1] and answer.version not in during:
            late = answer.sent_at - before[-1][0]
            if late > bound_s:
                found.append((answer, late))
    return found


def grown(samples: list[int]) -> float:
    """Return by how much the median of the last quarter lies above that of the quarter after the first half began."""
    if len(samples) < 8:
        return 0.0
    half = samples[len(samples) // 2 :]
    middle = len(half) // 2
    return statistics.median(half[middle:]) - statistics.median(half[:middle])
