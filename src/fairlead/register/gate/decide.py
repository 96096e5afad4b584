"""The gate: from the evidence of all servers and steps to roll back, advance or hold, with the numbers. Pure.

`decide` takes a GateSpec, ReleaseEvidence, the arms' names and StepFacts; gives a GateDecision; raises nothing.

Rolls back where a metric is proven worse than allowed. Each of m metrics has alpha / m, over all steps and looks (Bonferroni), so a
candidate that is no worse in any is ever rolled back with probability alpha at most.

Advances where every metric is proven no worse than tolerated, each at level alpha (all have to be, so a candidate that is worse than
tolerated in any goes on with probability alpha at most); or, once the step's planned time is over, where those that are not proven saw at
least the stated minimum and nothing that is worth mentioning. It says which of the two it was. Either way this step has to have given the
candidate the minimum of requests.

Holds otherwise, and says what is missing and about how many more requests it takes. Laws: the order of servers' reports does not matter;
no counts, no decision; of answers that were counted, a good one that turns bad never turns a roll-back into anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.gate import Finding, FindingState, GateDecision, GateMetric, GateSpec, GateVerdict, Source, StepFacts
from fairlead.register.gate import latencies, rates
from fairlead.register.gate.counts import pair_steps, rate_steps, seen, tail_steps
from fairlead.register.gate.judgement import Judgement, Levels
from fairlead.register.gate.sentences import say_decision, say_finding

WORTH_MENTIONING = math.sqrt(10.0)  # an e-value below is none: Jeffreys' rule, as in Vovk and Wang 2021


def decide(spec: GateSpec, evidence: ReleaseEvidence, live: str, candidate: str, facts: StepFacts) -> GateDecision:
    """Return what to do with the candidate now."""
    findings = tuple(_finding(spec, metric, evidence, live, candidate, facts) for metric in spec.metrics)
    verdict = _verdict({finding.state for finding in findings})
    if verdict is GateVerdict.ADVANCE and not _has_seen(spec, evidence, candidate, facts):
        verdict = GateVerdict.HOLD
    return GateDecision(
        verdict, findings, say_decision(verdict, findings, spec, facts, seen(Source.SPLIT, evidence, candidate, [facts.step]))
    )


def _verdict(states: set[FindingState]) -> GateVerdict:
    if FindingState.REGRESSED in states:
        return GateVerdict.ROLL_BACK
    return GateVerdict.HOLD if FindingState.OPEN in states else GateVerdict.ADVANCE


def _has_seen(spec: GateSpec, evidence: ReleaseEvidence, candidate: str, facts: StepFacts) -> bool:
    """Whether this step has shown enough: what is proven of a share of 1 % is not yet seen at 50 %."""
    if not _splits(facts):
        return facts.elapsed_s >= facts.planned_s
    return Source.SPLIT not in spec.sources or seen(Source.SPLIT, evidence, candidate, [facts.step]) >= spec.min_requests


def _splits(facts: StepFacts) -> bool:
    return not 0 <= facts.step < len(facts.shares) or facts.shares[facts.step] > 0


def judge(spec: GateSpec, metric: GateMetric, evidence: ReleaseEvidence, live: str, candidate: str, facts: StepFacts) -> Judgement:
    """Return what the evidence says about one metric."""
    rule = metric.rule
    levels = Levels(spec.metric_alpha, spec.alpha, max(len(facts.shares), facts.step + 1, 1))
    if rule.quantile is not None:
        tails = tail_steps(evidence, live, candidate, facts, metric.rule.clustered(spec.cluster))
        if metric.bound is not None:
            return latencies.against_bound(tails, rule.quantile, metric.bound, levels)
        return latencies.against_live(tails, rule.quantile, metric.limit, metric.tolerance, levels)
    if rule.source in (Source.SHADOW, Source.TWIN):
        steps = pair_steps(rule.source, evidence)
    else:
        steps = rate_steps(rule.name, evidence, live, candidate, facts, metric.rule.clustered(spec.cluster))
    if metric.bound is not None:
        return rates.against_bound(steps, 1.0 - metric.bound if rule.is_minimum else metric.bound, levels)
    return rates.against_live(steps, metric.limit, metric.tolerance, levels, facts.step)


def _finding(spec: GateSpec, metric: GateMetric, evidence: ReleaseEvidence, live: str, candidate: str, facts: StepFacts) -> Finding:
    judged = judge(spec, metric, evidence, live, candidate, facts)
    thresholds = 1.0 / spec.metric_alpha, 1.0 / spec.alpha
    source = metric.rule.source
    numbers = [step.step for step in evidence.steps]
    total, here = seen(source, evidence, candidate, numbers), seen(source, evidence, candidate, [facts.step])
    state = _state(judged, thresholds, metric, spec, facts, here if source is Source.SPLIT else total)
    needed = _needed(judged, thresholds, state, metric.rule.clustered(spec.cluster))
    rate = here / facts.elapsed_s if facts.elapsed_s > 0 else 0.0
    shown = _shown(metric, judged, state)
    finding = Finding(
        metric=str(metric),
        state=state,
        live=shown["live"],
        candidate=shown["candidate"],
        low=shown["low"],
        high=shown["high"],
        e_value=judged.alarm.value,
        threshold=thresholds[0],
        safe_e_value=judged.safe.value,
        safe_threshold=thresholds[1],
        requests=total,
        needed=needed,
        needed_s=needed / rate if needed is not None and rate > 0 else None,
        sentence="",
    )
    return say_finding(finding, metric, spec)


def _state(
    judged: Judgement, thresholds: tuple[float, float], metric: GateMetric, spec: GateSpec, facts: StepFacts, count: int
) -> FindingState:
    if judged.alarm.log >= math.log(thresholds[0]):
        return FindingState.REGRESSED
    if judged.safe.log >= math.log(thresholds[1]):
        return FindingState.SAFE
    if metric.rule.source in (Source.SPLIT, Source.LABELS) and not _splits(facts):
        return FindingState.UNASKED
    is_quiet = judged.alarm.value < WORTH_MENTIONING
    return FindingState.QUIET if is_quiet and count >= spec.min_requests and facts.elapsed_s >= facts.planned_s else FindingState.OPEN


def _needed(judged: Judgement, thresholds: tuple[float, float], state: FindingState, cluster: float) -> int | None:
    if state in (FindingState.REGRESSED, FindingState.SAFE):
        return 0
    found = (judged.alarm.needed(math.log(thresholds[0])), judged.safe.needed(math.log(thresholds[1])))
    told = [number for number in found if number is not None]
    return math.ceil(min(told) * cluster) if told else None


def _shown(metric: GateMetric, judged: Judgement, state: FindingState) -> Mapping[str, float | None]:
    """The numbers as a person reads them: shares of right answers where the tests count wrong ones; nothing wider than what is proven."""
    low, high, live, candidate = judged.low, judged.high, judged.live, judged.candidate
    bound = metric.bound
    worst = metric.tolerance if bound is None else None
    if state is FindingState.SAFE and worst is not None:
        high = worst if high is None else min(high, worst)
    if state is FindingState.REGRESSED and bound is None:
        low = metric.limit if low is None else max(low, metric.limit)
    if low is not None and high is not None and low > high:  # steps that contradict each other
        low, high = judged.low, judged.high
    if metric.rule.is_minimum:
        live, candidate = (None if value is None else 1.0 - value for value in (live, candidate))
        if bound is not None:
            low, high = (None if value is None else 1.0 - value for value in (high, low))
    return {"live": live, "candidate": candidate, "low": low, "high": high}
