"""What a running release is judged by: the evidence of all servers, what the gate says of it, and what the servers say of themselves.

Takes a House and what stands in the registry; gives Outlooks for `register.release.next_state`. Raises StorageError. What a report cannot
be read of is left out. Changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from fairlead.app.servers import Roll
from fairlead.core.betting import rate_interval
from fairlead.core.evidence import ReleaseEvidence, merge
from fairlead.core.gate import RULES, ArmsComparison, GateDecision, GateVerdict, StepFacts
from fairlead.core.heartbeat import ServerBeat
from fairlead.core.ports import Clock, RecordStore
from fairlead.core.release import Release, ReleaseKind
from fairlead.core.traffic import CANDIDATE, LIVE
from fairlead.errors import ApprovalError, CorruptError, NotFoundError
from fairlead.register.approval import require_approval
from fairlead.register.gate.compare import compare
from fairlead.register.gate.decide import decide
from fairlead.register.promotion import Kept, live_move
from fairlead.register.release import Outlook
from fairlead.stores.document import load

EVIDENCE = "evidence"
_COMPARED = tuple(RULES[name] for name in ("error_rate", "p50_ms", "p99_ms", "accuracy"))
_ALPHA = 0.05  # of an experiment: all its intervals hold at all times with 95 %


@dataclass(frozen=True)
class Assessment:
    """A release as it stands, and everything that is known of it now."""

    kept: Kept
    outlook: Outlook
    evidence: ReleaseEvidence
    servers: tuple[ServerBeat, ...]


class Assessor:
    """Assesses as often as asked. The age of a step is what the clock said when it was first seen, and a steady clock since then."""

    def __init__(self, records: RecordStore, clock: Clock, monotonic: Clock = time.monotonic) -> None:
        self._records, self._clock, self._monotonic = records, clock, monotonic
        self._roll = Roll(records, clock, monotonic)
        self._seen: dict[str, tuple[int, float, float]] = {}  # release -> step, its age when it was seen first, and when that was

    def assess(self, kept: Kept) -> Assessment:
        """Return what is known of `kept`, which runs."""
        release = kept.release
        servers = tuple(beat for beat in self._roll.call() if beat.alias == release.alias and release.name in beat.applied)
        evidence = evidence_of(release, self._records)
        age_s = self._step_age_s(release)
        move = live_move(release.name, release.alias, records=self._records)
        outlook = Outlook(
            self._clock(),
            age_s,
            move.number if move is not None else 0,
            move.sequence if move is not None else 0,
            judgement(release, evidence, age_s),
            self._obstacle(kept, servers),
            self._defect(kept, servers),
            compared(evidence) if release.kind is ReleaseKind.SHADOW else "",
        )
        return Assessment(kept, outlook, evidence, servers)

    def forget(self, ids: frozenset[str]) -> None:
        """Forget the steps of every release but those."""
        self._seen = {key: value for key, value in self._seen.items() if key in ids}

    def _step_age_s(self, release: Release) -> float:
        now = self._monotonic()
        step, age_s, since = self._seen.get(release.id, (-1, 0.0, now))
        if step != release.step:
            step, age_s, since = release.step, max(self._clock() - release.step_started_at, 0.0), now
            self._seen[release.id] = (step, age_s, since)
        return age_s + now - since

    def _obstacle(self, kept: Kept, servers: tuple[ServerBeat, ...]) -> str:
        release = kept.release
        if not self._roll.is_sure:
            return "Looking which servers live."
        behind = [beat for beat in servers if not beat.has_caught_up(release.name, kept.sequence)]
        if behind:
            said = behind[0].applied[release.name].problem or "has not looked at it yet"
            more = f" (and {len(behind) - 1} more)" if len(behind) > 1 else ""
            return f"{behind[0].label}{more}: {said}"
        try:
            version = self._records.version(release.name, release.candidate) if release.candidate else None
            if version is not None:
                require_approval(version, release.alias, records=self._records)
        except (ApprovalError, NotFoundError, CorruptError) as error:
            return str(error)
        return ""

    def _defect(self, kept: Kept, servers: tuple[ServerBeat, ...]) -> str:
        release = kept.release
        failed = [beat for beat in servers if beat.has_failed(release.name, kept.sequence)]
        if not failed or (len(failed) < len(servers) and release.kind is not ReleaseKind.BLUE_GREEN):
            return ""
        return f"{release.name}:{release.candidate} cannot be served on {failed[0].label}: {failed[0].applied[release.name].problem}"


def evidence_of(release: Release, records: RecordStore) -> ReleaseEvidence:
    """Return what all servers have counted of a release."""
    parts = []
    for report in records.reports(EVIDENCE, f"{release.id}/"):
        try:
            part = load(report.body.encode(), ReleaseEvidence)
        except CorruptError:
            continue
        if part.release == release.id:
            parts.append(part)
    return merge(release.id, parts)


def compared(evidence: ReleaseEvidence) -> str:
    """Return what a shadow's answers were like beside the live ones, as a sentence."""
    shadows = [step.shadow for step in evidence.steps]
    pairs, flips = sum(pair.pairs for pair in shadows), sum(pair.flips for pair in shadows)
    failures = sum(pair.failures for pair in shadows)
    lost = f"; answers that never came: {failures:,}" if failures else ""
    if not pairs:
        return f"Nothing was compared{lost}."
    low, high = rate_interval(flips, pairs, _ALPHA)
    largest = max(pair.largest_difference for pair in shadows)
    share = f"{flips / pairs:.3%} (95 %: {low:.3%} to {high:.3%})"
    return f"{pairs:,} answers were compared: {flips:,} decided otherwise, {share}; numbers differ by {largest:.3g} at most{lost}."


def judgement(release: Release, evidence: ReleaseEvidence, step_age_s: float) -> GateDecision | None:
    """Return what the gate of a release says; None where it has none."""
    if release.gate is None or release.kind is ReleaseKind.BLUE_GREEN:
        return None
    if release.kind is not ReleaseKind.EXPERIMENT:
        facts = StepFacts(release.step, tuple(step.share for step in release.steps), step_age_s, release.min_step_s)
        return decide(release.gate, evidence, LIVE, CANDIDATE, facts)
    shares = {arm.name: arm.share for arm in release.arms}
    control = shares[release.control]
    gate = replace(release.gate, alpha=release.gate.alpha / len(release.tried))  # one decision for each arm that is tried
    decisions = []
    for arm in release.tried:
        facts = StepFacts(0, (shares[arm] / (shares[arm] + control),), step_age_s, release.min_step_s)
        decision = decide(gate, evidence, release.control, arm, facts)
        decisions.append(replace(decision, sentence=f"{arm} against {release.control}: {decision.sentence}"))
    return next((decision for decision in decisions if decision.verdict is GateVerdict.ROLL_BACK), decisions[0])


def comparison_of(release: Release, evidence: ReleaseEvidence) -> ArmsComparison | None:
    """Return an experiment's arms compared; None for anything else."""
    if release.kind is not ReleaseKind.EXPERIMENT:
        return None
    cluster = release.gate.cluster if release.gate is not None else 1.0
    return compare(evidence, {arm.name: arm.share for arm in release.arms}, _COMPARED, _ALPHA, cluster=cluster)
