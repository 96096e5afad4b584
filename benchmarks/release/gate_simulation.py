"""Does the gate keep its promises? Simulated canaries, theory's sample sizes beside them. Prints the tables of docs/reference/gates.md.

    python benchmarks/release/gate_simulation.py [--canaries 2000] [--only whole,peek,effects,power,correlated]

whole       a whole gate of four metrics through steps of 1 %, 10 % and 50 %, decided by `decide` at 18 looks; both versions alike
peek        each metric alone, looked at after every request; beside it a test for a fixed sample size that is looked at as often
effects     a loss of two points, a doubled error rate, a p99 that is 20 % longer: when each is found, and when theory promises it
power       how often an effect is found within so many requests
correlated  what it costs that latencies depend on each other
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
from gate_traffic import Arm, Canary, Step, Traffic, bucket_chances, later_than
from numpy.typing import NDArray

from fairlead.core.betting import ODDS, rate_interval
from fairlead.core.gate import GateSpec, GateVerdict, StepFacts, parse_gate
from fairlead.register.gate import latencies, rates, sample_size
from fairlead.register.gate.counts import RateStep, Tail, TailStep
from fairlead.register.gate.decide import decide
from fairlead.register.gate.judgement import RESERVE, Levels

ALPHA = 0.01
SHARES = (0.01, 0.1, 0.5)
LOOKS = 6  # of the whole gate, in each step
Floats = NDArray[np.float64]


def table(title: str, columns: str) -> None:
    print(f"\n{title}\n\n| {columns} |\n|{'---|' * (columns.count('|') + 1)}")


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def share_of(hits: int, count: int) -> str:
    """A share with its interval; the intervals of the tables are at 99 % (and hold at all times, as everything here)."""
    low, high = rate_interval(hits, count, 0.01)
    return f"{hits / count:.2%} ({low:.2%} to {high:.2%})"


def whole(count: int) -> None:
    """The real `decide`, as a server calls it."""
    table(
        "A whole gate, both versions alike (alpha 0.01)",
        "gate | canaries | rolled back | interval | would be promoted at the end",
    )
    chances = bucket_chances()
    usual, strict = "error_rate, p99_ms, disagreement, accuracy", "error_rate, p99_ms_rise<=0, disagreement<=0.02, accuracy"
    for text, canaries in ((strict, count), (usual, count // 4)):
        spec, counts = parse_gate(text, ALPHA), (60_000, 20_000, 8_000)
        back = done = 0
        for seed in range(canaries):
            verdicts = list(_verdicts(seed, spec, counts, chances))
            back += GateVerdict.ROLL_BACK in verdicts
            if seed % 100 == 99:
                print(f"{seed + 1} canaries, {back} rolled back", file=sys.stderr, flush=True)
            done += verdicts[-1] is GateVerdict.ADVANCE
        row(f"`{text}`", canaries, back, share_of(back, canaries), f"{done / canaries:.1%}")


def _verdicts(seed: int, spec: GateSpec, counts: tuple[int, ...], chances: Floats) -> Iterable[GateVerdict]:
    canary = Canary(seed, Traffic(), chances)
    for step, total in enumerate(counts):
        for look in range(1, LOOKS + 1):
            canary.more(step, total // LOOKS, SHARES[step])
            facts = StepFacts(step, SHARES, 60.0 * look / LOOKS, 60.0)
            verdict = decide(spec, canary.evidence(), "live", "candidate", facts).verdict
            yield verdict
            if verdict is GateVerdict.ROLL_BACK:
                return


def wealth_path(bad: NDArray[np.bool_], mine: NDArray[np.bool_], share: float) -> Floats:
    """The logarithm of `rates.against_live`'s wealth after every request."""
    number = np.arange(1, len(bad) + 1)
    supposed = np.maximum(share, np.cumsum(mine) / number)
    mine_bad, all_bad = np.cumsum(bad & mine), np.cumsum(bad)
    bets = mine_bad[:, None] * np.log(ODDS) - all_bad[:, None] * np.log1p(supposed[:, None] * (ODDS - 1.0))
    top = bets.max(axis=1)
    return np.asarray(top + np.log(np.exp(bets - top[:, None]).mean(axis=1)))


def bound_path(bad: NDArray[np.bool_], bound: float) -> Floats:
    """The logarithm of `rates.against_bound`'s wealth after every answer."""
    bets = np.cumsum(bad)[:, None] * np.log(ODDS) - np.arange(1, len(bad) + 1)[:, None] * np.log1p(bound * (ODDS - 1.0))
    top = bets.max(axis=1)
    return np.asarray(top + np.log(np.exp(bets - top[:, None]).mean(axis=1)))


def naive_path(bad: NDArray[np.bool_], mine: NDArray[np.bool_]) -> Floats:
    """The p-value after every request of the usual test of two shares (one-sided z-test), which is right for one look."""
    number, own = np.arange(1, len(bad) + 1), np.cumsum(mine)
    mine_bad, all_bad = np.cumsum(bad & mine), np.cumsum(bad)
    with np.errstate(all="ignore"):
        pooled = all_bad / number
        spread = np.sqrt(pooled * (1 - pooled) * (1 / own + 1 / (number - own)))
        z = (mine_bad / own - (all_bad - mine_bad) / (number - own)) / spread
    return np.where(np.isfinite(z) & (all_bad >= 10), z, 0.0)


def tail_of(step: Step, mine: bool, until: int) -> Tail:
    seen = step.is_candidate[:until] == mine
    counts = np.bincount(step.buckets[:until][seen & ~step.failed[:until]])
    used = np.flatnonzero(counts)
    return Tail(used, np.array([*counts[used], (seen & step.failed[:until]).sum()], dtype=np.float64))


def latency_log(step: Step, until: int, limit: float, alpha: float, cluster: float = 1.0) -> float:
    """The logarithm of the wealth of `latencies.against_live` at p99."""
    tails = [tail_of(step, mine, until) for mine in (True, False)]
    if cluster > 1:
        tails = [Tail(tail.buckets, tail.counts / cluster) for tail in tails]
    steps = [TailStep(0, step.share, *tails)]
    return latencies.wealth(steps, 0.01, 1.0 + limit, alpha * RESERVE, is_above=True).log


def late_looks(step: Step) -> NDArray[np.int64]:
    """After every answer of the candidate that is later than 97 % of all: wealth grows at no other, but for live's interval narrowing."""
    border = np.quantile(step.buckets, 0.97)
    looks = np.flatnonzero(step.is_candidate & (step.buckets >= border)) + 1
    return np.asarray(looks[looks > step.count // 50])


def peek(count: int) -> None:
    table(
        "Each metric alone, both versions alike, looked at after every request", "metric | alpha | canaries | requests each | false alarms"
    )
    levels = (0.05, 0.01)
    for name, error, share, requests in (("error rate 0.5 %", 0.005, 0.1, 20_000), ("accuracy 95 %", 0.05, 0.5, 10_000)):
        tops = np.zeros(count)
        naive = np.zeros(count)
        for seed in range(count):
            draw = np.random.default_rng(seed)
            mine, bad = draw.random(requests) < share, draw.random(requests) < error
            path = wealth_path(bad, mine, share)
            tops[seed], naive[seed] = path.max(), naive_path(bad, mine).max()
            if seed < 5:
                _check_same(bad, mine, share, path)
        for alpha in levels:
            row(f"{name}, share {share:.0%}", alpha, count, requests, share_of(int((tops >= -math.log(alpha)).sum()), count))
        for alpha, limit in zip(levels, (1.645, 2.326), strict=True):
            shown = share_of(int((naive >= limit).sum()), count)
            row("the same, *z-test for a fixed sample size* (positive control)", alpha, count, requests, shown)
    tops = np.array([bound_path(np.random.default_rng(seed).random(10_000) < 0.02, 0.02).max() for seed in range(count)])
    for alpha in levels:
        row("disagreement at its budget of 2 %", alpha, count, 10_000, share_of(int((tops >= -math.log(alpha)).sum()), count))
    _peek_latency(count, levels)


def _peek_latency(count: int, levels: tuple[float, ...]) -> None:
    traffic = Traffic(live=Arm(error=0.0), candidate=Arm(error=0.0))
    for alpha in levels:
        false = 0
        for seed in range(count):
            step = Step(np.random.default_rng(seed), traffic, 20_000, 0.1)
            false += any(latency_log(step, int(look), 0.0, alpha) >= -math.log(alpha) for look in late_looks(step))
        row("p99, share 10 %, no slower at all", alpha, count, 20_000, share_of(false, count))


def _check_same(bad: NDArray[np.bool_], mine: NDArray[np.bool_], share: float, path: Floats) -> None:
    """What is simulated in whole arrays is what the gate computes."""
    own, mine_bad = int(mine.sum()), int((bad & mine).sum())
    step = RateStep(0, share, own, mine_bad, len(bad) - own, int(bad.sum()) - mine_bad)
    wealth = rates.against_live([step], 0.0, 0.1, Levels(ALPHA, ALPHA, 1), 0).alarm
    if not math.isclose(wealth.log, float(path[-1]), rel_tol=1e-9, abs_tol=1e-9):
        raise SystemExit(f"the simulation ({path[-1]}) is not the gate's test ({wealth.log})")


def rate_catches(live: float, rate: float, share: float, alpha: float, most: int, count: int) -> Floats:
    """Requests of the candidate at which each canary is caught (infinite: not within `most`), looked at after every bad answer."""
    caught = np.full(count, math.inf)
    chance = share * rate + (1 - share) * live
    own = share * (1 - rate) / (1 - chance)  # whose a good answer is
    events = math.ceil(most / share * chance * 1.2) + 50
    for seed in range(count):
        draw = np.random.default_rng(seed)
        seen = np.zeros(4)  # requests, the candidate's, bad answers, the candidate's
        for start in range(0, events, 1024):
            size = min(1024, events - start)
            gaps, is_mine = draw.geometric(chance, size), draw.random(size) < share * rate / chance
            total, mine = seen[0] + np.cumsum(gaps), seen[1] + np.cumsum(draw.binomial(gaps - 1, own) + is_mine)
            bad, mine_bad = seen[2] + np.arange(1, size + 1), seen[3] + np.cumsum(is_mine)
            bets = mine_bad[:, None] * np.log(ODDS) - bad[:, None] * np.log1p(np.maximum(share, mine / total)[:, None] * (ODDS - 1.0))
            found = np.flatnonzero(np.exp(np.minimum(bets, 600.0)).mean(axis=1) >= 1.0 / alpha)
            if len(found):
                caught[seed] = mine[found[0]]
                break
            seen = np.array([total[-1], mine[-1], bad[-1], mine_bad[-1]])
    return caught


def latency_catches(slower: float, share: float, alpha: float, most: int, count: int, limit: float = 0.05) -> Floats:
    """Likewise for p99, looked at 40 times, each time after 12 % more requests."""
    traffic = Traffic(live=Arm(error=0.0), candidate=Arm(error=0.0, slower=slower))
    total = math.ceil(most / share)
    looks = np.unique(np.geomspace(total * 1.12**-40, total, 41).astype(int))
    caught = np.full(count, math.inf)
    for seed in range(count):
        step = Step(np.random.default_rng(seed), traffic, total, share)
        for look in looks:
            if latency_log(step, int(look), limit, alpha) >= -math.log(alpha):
                caught[seed] = step.is_candidate[:look].sum()
                break
    return caught


def effects(count: int) -> None:
    alpha = ALPHA / 4
    table(
        f"Effects, each metric at alpha 0.01 / 4 = {alpha} (requests or labels of the candidate)",
        "effect | share | canaries | theory: about | found at: median | 95 % found at | theory: 95 % found within | found within that",
    )
    for name, live, rate in (
        ("accuracy 95 % to 93 %", 0.05, 0.07),
        ("accuracy 90 % to 88 %", 0.10, 0.12),
        ("error rate 1 % to 2 %", 0.01, 0.02),
        ("error rate 0.1 % to 0.2 %", 0.001, 0.002),
    ):
        for share in (0.01, 0.1, 0.5):
            promised = sample_size.against_live(live, rate, share, alpha)
            caught = rate_catches(live, rate, share, alpha, int(promised.enough or 0), count)
            _effect(name, share, promised, caught)
    live, slow = later_than(1.0), later_than(1.2)
    for share, canaries in ((0.1, count // 8), (0.5, count // 4)):
        promised = sample_size.latency_against_live(live, slow, quantile=0.99, limit=0.05, share=share, alpha=alpha)
        _effect(
            "p99 longer by 20 % (gate `p99_ms`)", share, promised, latency_catches(1.2, share, alpha, int(promised.enough or 0), canaries)
        )


def _effect(name: str, share: float, promised: sample_size.SampleSize, caught: Floats) -> None:
    within = int((caught <= (promised.enough or math.inf)).sum())
    high = np.quantile(caught, 0.95, method="higher")
    found = f"{high:,.0f}" if math.isfinite(high) else f"> {promised.enough:,}"
    about = f"{promised.about:,}"
    row(name, f"{share:.0%}", len(caught), about, f"{np.median(caught):,.0f}", found, f"{promised.enough:,}", share_of(within, len(caught)))


def power(count: int) -> None:
    sizes = (250, 500, 1000, 2000, 4000, 8000, 16000)
    alpha = ALPHA / 4
    table("Found within so many requests (labels) of the candidate, share 10 %", f"effect | {' | '.join(f'{size:,}' for size in sizes)}")
    for name, live, rate in (
        ("error rate 1 % to 1.5 %", 0.01, 0.015),
        ("error rate 1 % to 2 %", 0.01, 0.02),
        ("error rate 1 % to 4 %", 0.01, 0.04),
        ("error rate 0.1 % to 5 %", 0.001, 0.05),
        ("accuracy 95 % to 94 %", 0.05, 0.06),
        ("accuracy 95 % to 93 %", 0.05, 0.07),
        ("accuracy 95 % to 90 %", 0.05, 0.10),
    ):
        caught = rate_catches(live, rate, 0.1, alpha, sizes[-1], count)
        row(name, *(f"{(caught <= size).mean():.0%}" for size in sizes))
    for slower in (1.1, 1.2, 1.5, 2.0):
        caught = latency_catches(slower, 0.1, alpha, sizes[-1], count // 10)
        row(f"p99 longer by {slower - 1:.0%}", *(f"{(caught <= size).mean():.0%}" for size in sizes))


def correlated(count: int) -> None:
    table(
        "p99 (`p99_ms_rise<=0`, alpha 0.01), both versions alike, share 10 %, 20,000 requests, looked at after every late answer",
        "latencies | canaries | false alarms",
    )
    plain = Arm(error=0.0)
    cases: tuple[tuple[str, Traffic, float], ...] = (
        ("independent", Traffic(plain, plain), 1.0),
        ("slow and fast times common to both (AR(1) 0.99, 30 %)", Traffic(plain, plain, drift=0.99), 1.0),
        ("slow and fast times common to both (AR(1) 0.9999, 60 %)", Traffic(plain, plain, drift=0.9999, drift_size=0.6), 1.0),
        ("batches of 8 of one version share one latency", Traffic(plain, plain, batch=8), 1.0),
        ("the same, gate told so (`cluster` 8)", Traffic(plain, plain, batch=8), 8.0),
    )
    for name, traffic, cluster in cases:
        row(name, count, share_of(_false_alarms(traffic, cluster, count), count))


def _false_alarms(traffic: Traffic, cluster: float, count: int) -> int:
    found = 0
    for seed in range(count):
        step = Step(np.random.default_rng(seed), traffic, 20_000, 0.1)
        found += any(latency_log(step, int(look), 0.0, ALPHA, cluster) >= -math.log(ALPHA) for look in late_looks(step))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[int], None]] = {
        "whole": whole, "peek": peek, "effects": effects, "power": power, "correlated": correlated,
    }  # fmt: skip
    parser.add_argument("--canaries", type=int, default=2000)
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    options = parser.parse_args()
    for name in options.only.split(","):
        started = time.perf_counter()
        parts[name](options.canaries)
        print(f"\n({name}: {time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
