"""Judges shares of bad answers: against a fixed bound, and of the candidate against the live version. Pure.

Against a bound, the bets are on the candidate's answers: the chance of a bad one, given all before, is the bound at most.

Against live, where no difference is allowed, the bets are on whose a bad answer is. Requests are divided by a draw, so where both versions
are alike, each bad answer is the candidate's with its share of the requests, whatever the rate of bad answers and however it changes: an
outage that hits both arms says nothing. The share that is supposed is the planned one, or the share that came out if that is more, so that
a server that had not loaded the candidate yet, or one busy sticky key, makes no false alarm (Lindon and Malek 2022, section 3).

Where a difference d is allowed, live's rate r has to be known. An interval holds it at all times, paid for by a tenth of alpha; at its end
that speaks most for the candidate, half of the bets are on the candidate's answers alone (chance r + d), half on whose a bad answer is
(odds 1 + d / r).
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.core.betting import Stratum, Wealth, bet, mixed, nothing, rate_interval
from fairlead.register.gate.counts import RateStep
from fairlead.register.gate.judgement import RESERVE, Judgement, Levels

_SUPPOSED = 20.0  # as many answers like live's are supposed in a forecast before the candidate's own count more


def against_bound(steps: Sequence[RateStep], bound: float, levels: Levels) -> Judgement:
    """Judge whether the candidate's share of bad answers keeps `bound`."""
    count, bad = sum(step.count for step in steps), sum(step.bad for step in steps)
    counted = [Stratum(bad, count, bound)]
    rate = (bad + 0.5 * bound) / (count + 0.5)
    expected = Stratum(rate, 1.0, bound)
    low, high = rate_interval(bad, count, levels.safe)
    return Judgement(
        bet(counted, expected, is_above=True),
        bet(counted, expected, is_above=False),
        live_rate(steps),
        bad / count if count else None,
        low if count else None,
        high if count else None,
    )


def against_live(steps: Sequence[RateStep], limit: float, tolerance: float, levels: Levels, present: int) -> Judgement:
    """Judge how much larger the candidate's share of bad answers is than live's, in a release that is in step `present`."""
    count, bad = sum(step.count for step in steps), sum(step.bad for step in steps)
    live = live_rate(steps)
    low, high = _difference(steps, levels)
    alarm = (
        _whose(steps, present) if limit == 0 else _beyond(steps, limit, levels.alarm * RESERVE / levels.step_count, present, is_above=True)
    )
    safe = _beyond(steps, tolerance, levels.safe * RESERVE / levels.step_count, present, is_above=False)
    return Judgement(alarm, safe, live, bad / count if count else None, low, high)


def live_rate(steps: Sequence[RateStep]) -> float | None:
    """Return live's share of bad answers, each step weighted by how many answers of the candidate it had."""
    known = [step for step in steps if step.live_count]
    weight = sum(step.count for step in known)
    if not weight:
        count = sum(step.live_count for step in known)
        return sum(step.live_bad for step in known) / count if count else None
    return sum(step.count * step.live_bad / step.live_count for step in known) / weight


def _whose(steps: Sequence[RateStep], present: int) -> Wealth:
    """Bet that a bad answer is rather the candidate's."""
    strata = [Stratum(step.bad, step.bad + step.live_bad, step.most) for step in steps]
    return bet(strata, _expected_whose(steps, present, 1.0, is_most=True), is_above=True) if strata else nothing()


def _beyond(steps: Sequence[RateStep], bound: float, alpha: float, present: int, *, is_above: bool) -> Wealth:
    """Bet that the candidate's rate exceeds live's by more than `bound`; without `is_above`, by less."""
    whose, own, factor = [], [], 1.0
    for step in steps:
        low, high = rate_interval(step.live_bad, step.live_count, alpha)
        far, near, share = (high, low, step.most) if is_above else (low, high, step.least)
        own.append(Stratum(step.bad, step.count, min(far + bound, 1.0)))
        factor = 1.0 + bound / max(near, 1e-12)
        whose.append(Stratum(step.bad, step.bad + step.live_bad, _with_odds(share, factor)))
    return _half_and_half(steps, whose, own, factor, present, is_above=is_above)


def _half_and_half(
    steps: Sequence[RateStep], whose: Sequence[Stratum], own: Sequence[Stratum], factor: float, present: int, *, is_above: bool
) -> Wealth:
    if not steps:
        return nothing()
    rate, _ = _rates(steps)
    expected = Stratum(rate, 1.0, own[-1].chance)
    return mixed(
        bet(whose, _expected_whose(steps, present, factor, is_most=is_above), is_above=is_above, reserve=RESERVE),
        bet(own, expected, is_above=is_above, reserve=RESERVE),
    )


def _with_odds(chance: float, factor: float) -> float:
    return chance * factor / (chance * factor + 1.0 - chance)


def _rates(steps: Sequence[RateStep]) -> tuple[float, float]:
    """The candidate's and live's rate to go on from: with few answers of its own, the candidate is supposed to be like live."""
    live_count, live_bad = sum(step.live_count for step in steps), sum(step.live_bad for step in steps)
    live = (live_bad + 0.5) / (live_count + 1.0) if live_count else 0.0
    supposed = live_rate(steps) or live
    count, bad = sum(step.count for step in steps), sum(step.bad for step in steps)
    return (bad + _SUPPOSED * supposed) / (count + _SUPPOSED), live


def _expected_whose(steps: Sequence[RateStep], present: int, factor: float, *, is_most: bool) -> Stratum:
    """What one more request of the candidate brings on average: its own bad answer, and those of the live requests that come with it."""
    step = next((step for step in reversed(steps) if step.number == present), steps[-1])
    rate, live = _rates(steps)
    share = step.most if is_most else step.least
    beside = (1.0 - share) / share if share else 0.0
    return Stratum(rate, rate + live * beside, _with_odds(share, factor))


def _difference(steps: Sequence[RateStep], levels: Levels) -> tuple[float | None, float | None]:
    """An interval for the difference of the rates: in each step from both arms' own, all steps together."""
    alpha = levels.safe / 2 / levels.step_count
    ends = []
    for step in steps:
        if step.count and step.live_count:
            low, high = rate_interval(step.bad, step.count, alpha)
            live_low, live_high = rate_interval(step.live_bad, step.live_count, alpha)
            ends.append((low - live_high, high - live_low))
    if not ends:
        return None, None
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)
    return (low, high) if low <= high else ends[-1]
