"""An experiment: what its arms showed, and which is better, at any time with the stated confidence. Pure.

`compare` takes ReleaseEvidence and the arms with their shares; gives an ArmsComparison; raises nothing.

Each arm's value of each metric lies in its interval at all times, all of them together with the confidence 1 - alpha. One arm is proven
better than another where bets on whose the bad (or late) answers are say so (see rates and latencies), at alpha over the number of metrics
times ordered pairs. An arm is best in a metric where it is proven better than every other one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fairlead.core.betting import Wealth, rate_interval
from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.gate import ArmContrast, ArmEstimate, ArmsComparison, MetricRule, StepFacts
from fairlead.register.gate import latencies, rates
from fairlead.register.gate.counts import Tail, rate_steps, tail_steps
from fairlead.register.gate.judgement import Levels


def compare(
    evidence: ReleaseEvidence, shares: Mapping[str, float], rules: Sequence[MetricRule], alpha: float, *, cluster: float = 1.0
) -> ArmsComparison:
    """Return what is known of the arms in `shares` (name -> share of the requests, the same in all steps). Metrics that compare two answers
    are left out: no arm has one alone.
    """
    names, chosen = tuple(shares), [rule for rule in rules if rule.default_bound is None]
    estimates = [
        _estimate(evidence, rule, arm, alpha / max(len(chosen) * len(names), 1), rule.clustered(cluster))
        for rule in chosen
        for arm in names
    ]
    pair_count = max(len(chosen) * len(names) * (len(names) - 1), 1)
    contrasts = [
        _contrast(evidence, rule, better, worse, shares, alpha / pair_count, rule.clustered(cluster))
        for rule in chosen
        for better in names
        for worse in names
        if better != worse
    ]
    best = {rule.name: _best(rule.name, names, contrasts) for rule in chosen}
    return ArmsComparison(tuple(estimates), tuple(contrasts), best, 1.0 - alpha, _sentence(best, contrasts, 1.0 - alpha))


def _estimate(evidence: ReleaseEvidence, rule: MetricRule, arm: str, alpha: float, cluster: float) -> ArmEstimate:
    facts = StepFacts(0, (), 0.0, 0.0)
    if rule.quantile is not None:
        chance = 1.0 - rule.quantile
        tails = tail_steps(evidence, "", arm, facts, cluster)
        tail = Tail.together([step.candidate for step in tails])
        low, high = latencies.bounds_ms(tail, chance, alpha)
        return ArmEstimate(arm, rule.name, round(tail.count * cluster), tail.quantile_ms(rule.quantile), low or 0.0, high or math.inf)
    steps = rate_steps(rule.name, evidence, "", arm, facts, cluster)
    count, bad = sum(step.count for step in steps), sum(step.bad for step in steps)
    low, high = rate_interval(bad, count, alpha)
    value = bad / count if count else None
    if rule.is_minimum:
        low, high, value = 1.0 - high, 1.0 - low, None if value is None else 1.0 - value
    return ArmEstimate(arm, rule.name, round(count * cluster), value, low, high)


def _contrast(
    evidence: ReleaseEvidence, rule: MetricRule, better: str, worse: str, shares: Mapping[str, float], alpha: float, cluster: float
) -> ArmContrast:
    wealth = _wealth(evidence, rule, better, worse, shares, alpha, cluster)
    threshold = 1.0 / alpha
    both = (shares[better] + shares[worse]) / shares[worse] if shares[worse] else 1.0
    needed = wealth.needed(math.log(threshold))
    return ArmContrast(
        rule.name,
        better,
        worse,
        is_proven=wealth.log >= math.log(threshold),
        e_value=wealth.value,
        threshold=threshold,
        needed=None if needed is None else math.ceil(needed * both * cluster),
    )


def _wealth(
    evidence: ReleaseEvidence, rule: MetricRule, better: str, worse: str, shares: Mapping[str, float], alpha: float, cluster: float
) -> Wealth:
    """Bet that `worse` is worse: it takes the candidate's place, and `better` that of the live version."""
    both = shares[better] + shares[worse]
    share = shares[worse] / both if both else 0.5
    last = evidence.steps[-1].step if evidence.steps else 0
    facts = StepFacts(last, (share,) * (last + 1), 0.0, 0.0)
    levels = Levels(alpha, alpha, last + 1)
    if rule.quantile is not None:
        return latencies.against_live(tail_steps(evidence, better, worse, facts, cluster), rule.quantile, 0.0, 0.0, levels).alarm
    return rates.against_live(rate_steps(rule.name, evidence, better, worse, facts, cluster), 0.0, 0.0, levels, last).alarm


def _best(metric: str, arms: Sequence[str], contrasts: Sequence[ArmContrast]) -> str | None:
    for arm in arms:
        own = [one for one in contrasts if one.metric == metric and one.better == arm]
        if own and all(one.is_proven for one in own):
            return arm
    return None


def _sentence(best: Mapping[str, str | None], contrasts: Sequence[ArmContrast], confidence: float) -> str:
    parts = []
    for metric, arm in best.items():
        if arm is not None:
            parts.append(f"{metric}: {arm} is best")
            continue
        proven = [f"{one.better} beats {one.worse}" for one in contrasts if one.metric == metric and one.is_proven]
        parts.append(f"{metric}: {', '.join(proven) if proven else 'no arm is proven better yet'}")
    return f"At {confidence:.4g}: {'; '.join(parts)}." if parts else "Nothing is compared."
