"""Does drift keep its false-alarm budget, and how soon does it find a change? Prints the tables of docs/reference/drift.md.

    python benchmarks/monitor/drift_alarms.py [--runs 200] [--only year,hours,found]

year   200 years of 100 features, none of which changes, in windows of a day; beside it a Kolmogorov-Smirnov test at 5 % each day
hours  the same in windows of an hour, for a month
found  rows until a shift of 0.5 standard deviations is found in a used feature, and in one that the model does not use

The evidence is the product's own (`shape_bets`, `step`, `log_evidence`, `divide`, `log_threshold`), for many runs in one array.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.profile import FeatureKind, FeatureProfile, Profile
from fairlead.monitor.drift import detector
from fairlead.monitor.drift.budget import MONTH_S, WatchOptions, divide, log_threshold
from fairlead.monitor.drift.events import partition
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.drift.watch import DriftWatch, shape_bets
from fairlead.monitor.sketch.update import empty, update

ERF = np.vectorize(math.erf)
CELLS = 16
BATCH = 10  # runs at once
COLUMNS = "span | windows | rows a window | reference | means wobble by | runs | runs over budget | alarms a run | of KS at 5 %"
KS_5_PERCENT = 1.3581  # scaled distance that equal samples pass with 5 %


@dataclass(frozen=True)
class World:
    """A span without any change: how many features, windows, rows in each window and in the reference; `wobble` is the standard deviation
    by which the mean of a window moves, in standard deviations of the values.
    """

    features: int
    windows: int
    window_s: float
    rows: int
    reference_rows: int
    wobble: float = 0.0


def thresholds(features: int, options: WatchOptions) -> np.ndarray:
    """Return what each feature's detector has to reach: uses fall from 0.5 as they do in many models."""
    uses = 0.5 * 0.95 ** np.arange(features)
    made = tuple(FeatureProfile(f"f{number}", FeatureKind.NUMBER, "x", use=max(float(use), 0.011)) for number, use in enumerate(uses))
    shares = divide(Profile(made, (), 1, "rows")).shape
    return np.array([log_threshold(shares[feature.name], options) for feature in made])


def edges_of(references: np.ndarray) -> np.ndarray:
    """Return inner edges of CELLS cells of equal counts, (..., cells - 1)."""
    return np.quantile(references, np.arange(1, CELLS) / CELLS, axis=-1, method="inverted_cdf").transpose(1, 2, 0)


def chances(edges: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the chance of each cell for normal values shifted so far."""
    below = 0.5 * (1.0 + ERF((edges - shift) / math.sqrt(2.0)))
    full = np.concatenate([np.zeros((*below.shape[:-1], 1)), below, np.ones((*below.shape[:-1], 1))], axis=-1)
    return np.diff(full, axis=-1)


def simulate(world: World, runs: int, options: WatchOptions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return by run how many alarms the budget's detectors raised, and how many the daily tests."""
    generator = np.random.default_rng(seed)
    known = profile_column("x", generator.normal(size=5000), input_name="x")
    part = partition(known)
    limits = thresholds(world.features, options)
    alarms, naive = np.zeros(runs), np.zeros(runs)
    for first in range(0, runs, BATCH):
        count = min(BATCH, runs - first)
        edges = edges_of(generator.normal(size=(count, world.features, world.reference_rows)))
        reference = np.full((count, world.features, CELLS), world.reference_rows / CELLS)
        true = chances(edges, np.zeros(1))
        weights = detector.even_weights(2 * (CELLS - 1) * len(detector.ODDS), len(detector.ODDS))
        state = detector.begin(len(weights), count, world.features)
        seen = np.zeros_like(reference)
        for _ in range(world.windows):
            moved = true if not world.wobble else chances(edges, generator.normal(0, world.wobble, (count, world.features, 1)))
            live = generator.multinomial(world.rows, moved / moved.sum(axis=-1, keepdims=True)).astype(float)
            bets, seen = shape_bets(part, reference, live, seen, options.effect)
            state = detector.step(state, bets)
            is_alarm = detector.log_evidence(state, weights) >= limits
            alarms[first : first + count] += is_alarm.sum(axis=-1)
            if is_alarm.any():
                state.logs[is_alarm] = -np.inf
            distance = np.abs(np.cumsum(live - reference * world.rows / world.reference_rows, axis=-1)).max(axis=-1) / world.rows
            scale = math.sqrt(world.rows * world.reference_rows / (world.rows + world.reference_rows))
            naive[first : first + count] += (distance * scale > KS_5_PERCENT).sum(axis=-1)
    return alarms, naive


def years(runs: int) -> None:
    table(
        "Alarms where nothing changes, 100 features, one false alarm a month granted",
        COLUMNS,
    )
    for world in (
        World(100, 365, 86_400.0, 200, 1000),
        World(100, 365, 86_400.0, 10_000, 5000),
        World(100, 365, 86_400.0, 10_000, 5000, wobble=0.05),
    ):
        line("a year", world, runs)


def hours(runs: int) -> None:
    table(
        "The same in windows of an hour",
        COLUMNS,
    )
    line("30 days", World(100, 720, 3600.0, 300, 2000), max(runs // 10, 1))


def line(span: str, world: World, runs: int) -> None:
    options = WatchOptions(window_s=world.window_s)
    alarms, naive = simulate(world, runs, options, seed=1)
    granted = options.alarms_per_month * world.windows * world.window_s / MONTH_S
    over = int((alarms > granted).sum())
    print(
        f"| {span} | {world.windows} | {world.rows:,} | {world.reference_rows:,} | {world.wobble:g} sd | {runs} | {over} "
        f"| {alarms.mean():.3g} (granted {granted:.3g}) | {naive.mean():,.0f} |",
        flush=True,
    )


def found(runs: int) -> None:
    table(
        "Rows until a shift of 0.5 standard deviations is found, 100 features, one false alarm a month granted",
        "reference | use of the feature | runs | found | median rows | in 95 % of the runs | most",
    )
    for reference_rows in (1000, 5000, 20_000):
        for use in (0.5, 0.05, 0.0):
            rows = [until_found(reference_rows, use, seed) for seed in range(runs)]
            hits = np.array([one for one in rows if one is not None])
            told = f"{np.median(hits):,.0f} | {np.quantile(hits, 0.95):,.0f} | {hits.max():,}" if len(hits) else "- | - | -"
            print(f"| {reference_rows:,} | {use:.0%} | {runs} | {len(hits)} | {told} |", flush=True)


def until_found(reference_rows: int, use: float, seed: int, *, window_rows: int = 50, limit: int = 20_000) -> int | None:
    """Return how many shifted rows it took; the product's own watch, with 99 other features that hold the budget and see nothing."""
    generator = np.random.default_rng(seed)
    made = profile_column("x", generator.normal(size=reference_rows), input_name="x")
    others = tuple(
        FeatureProfile(f"f{number}", FeatureKind.CATEGORY, "x", count=100, counts=(50, 50), categories=("a", "b"), use=0.05)
        for number in range(99)
    )
    feature = replace(made, use=use)
    watch = DriftWatch(Profile((feature, *others), (), reference_rows, "rows"))
    for window in range(24 + limit // window_rows):
        shift = 0.5 if window >= 24 else 0.0
        sketch = update(empty(feature), feature, generator.normal(shift, 1.0, window_rows))
        alarms = watch.step(window * 3600.0, window * 3600.0 + 3600, {"x": sketch})
        if alarms:
            return (window - 23) * window_rows
    return None


def table(title: str, columns: str) -> None:
    print(f"\n{title}\n\n| {columns} |\n|{'---|' * (columns.count('|') + 1)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", default="year,hours,found")
    asked = parser.parse_args()
    started = time.perf_counter()
    parts = {"year": years, "hours": hours, "found": found}
    for name in asked.only.split(","):
        parts[name](asked.runs)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
