"""Is the chance right that the search states for its best model, and does choosing by it keep more promises? What does it cost?

Searches over drawn models, no network: each model has a time and true shares of rows that it loses and wins. Half of the rows choose, the
other half give the verdict, up to four looks. Four worlds: what is faster loses more, steeply (`steep`) or slowly, so that most models lie
near the bound (`level`); speed says nothing about loss (`wild`); and eight networks, each stored in five ways that mostly err in the same
rows (`kin`). Prints a table for docs/reference/search.md.

    python benchmarks/optimize/margin.py [--searches 200]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.app.search_luck import Choice, excess
from fairlead.core.interface import Array
from fairlead.core.search import Objective
from fairlead.optimize.search.front import Finding, ranked
from fairlead.verify.keeping import JEFFREYS, Prior, Shown, chance_of_loss, priors_of

BOUND, MODELS, LOOKS, KINDRED = 0.005, 40, 4, 5
WORLDS = ("steep", "level", "wild", "kin")
BY = ("the bound on these rows", "the chance, each model for itself", "the chance, beside its like, less what the choice adds")


@dataclass
class World:
    """Drawn models: their times, true losses, and shares of rows that are lost, won and neither; which come from the same network."""

    times: Array
    drop: Array
    shares: Array
    kin: Array

    def counts(self, generator: np.random.Generator, rows: int) -> Array:
        """Return (lost, won, neither) of each model on new rows; models of one network differ in a row or two."""
        first = np.unique(self.kin, return_index=True)[1]
        found = generator.multinomial(rows, self.shares[first])[self.kin]
        if len(first) < len(self.kin):
            found[:, :2] += generator.binomial(1, 0.3, (len(found), 2))
            found[:, 2] = rows - found[:, 0] - found[:, 1]
        return found


def drawn(generator: np.random.Generator, kind: str) -> World:
    """Draw the models of one search."""
    networks = MODELS // KINDRED if kind == "kin" else MODELS
    strength = np.sort(generator.uniform(0, 1, networks))
    times = 1 - 0.8 * strength
    noise = generator.normal(size=networks)
    drop = 0.03 * strength**6 + 0.002 * noise * strength
    moved = 0.002 + 0.05 * strength**2
    if kind == "level":
        drop, moved = 0.012 * strength**2 + 0.003 * noise, 0.004 + 0.03 * strength
    if kind == "wild":
        drop, moved = 0.01 * np.abs(noise), 0.002 + 0.04 * generator.uniform(size=networks)
    moved = moved + np.abs(drop)
    kin = np.repeat(np.arange(networks), MODELS // networks)
    shares = np.stack([(moved + drop) / 2, (moved - drop) / 2, 1 - moved], axis=1)
    stored = generator.uniform(0.97, 1.03, MODELS) if kind == "kin" else 1.0
    return World(times[kin] * stored, drop[kin], shares[kin], kin)


@dataclass
class Outcome:
    """What one search gave: whether the first look was green, how likely that seemed, the time of what was taken, and whether its true
    loss is within the bound.
    """

    is_first_green: bool
    chance: float
    time_ratio: float
    is_kept: bool


def search(generator: np.random.Generator, rows: int, kind: str, by: str) -> Outcome:
    """Draw models, choose on `rows` rows, look at as many others."""
    world = drawn(generator, kind)
    seen, new = world.counts(generator, rows), world.counts(generator, rows)
    models = [
        Shown(str(kin), time, lost, won)
        for kin, time, (lost, won, _) in zip(world.kin.tolist(), world.times.tolist(), seen.tolist(), strict=True)
    ]

    def holds(lost: int, won: int) -> bool:
        return lost - won <= BOUND * rows

    def chance(lost: int, won: int, prior: Prior) -> float:
        return chance_of_loss(lost, won, rows, allowed=BOUND, unseen=rows, prior=prior)

    findings = []
    learned = priors_of(models) if by == BY[2] else [JEFFREYS] * len(models)
    for place, ((lost, won, _), prior) in enumerate(zip(seen.tolist(), learned, strict=True)):
        found = chance(lost, won, prior) if holds(lost, won) and by != BY[0] else 1.0
        findings.append(Finding((), holds(lost, won), 1000 + place, models[place].strength, chance=found))
    best = ranked(findings, Objective.LATENCY)
    said = best[0].chance if best else 1.0
    if by == BY[2] and best:
        said -= excess(Choice(models, findings, chance, holds, rows, Objective.LATENCY), seed=rows)
    order = [finding.size_bytes - 1000 for finding in best]
    green = [holds(*new[place, :2].tolist()) for place in order]
    taken = next((place for place, is_green in zip(order[:LOOKS], green[:LOOKS], strict=True) if is_green), None)
    if taken is None:  # the model that no pass has touched
        return Outcome(bool(green and green[0]), max(said, 0.0), 1.0, is_kept=True)
    return Outcome(green[0], max(said, 0.0), models[taken].strength, bool(world.drop[taken] <= BOUND))


def lines(searches: int) -> Iterator[str]:
    """Yield the rows of the table."""
    for kind in WORLDS:
        for rows in (200, 500, 2000):
            for by in BY:
                generator = np.random.default_rng(rows)
                found = [search(generator, rows, kind, by) for _ in range(searches)]
                first = np.mean([one.is_first_green for one in found])
                kept = np.mean([one.is_kept for one in found])
                said = "-" if by == BY[0] else f"{np.mean([one.chance for one in found]):.0%}"
                speed = np.exp(np.mean([np.log(one.time_ratio) for one in found]))
                yield f"| {kind} | {rows} | {by} | {said} | {first:.0%} | {kept:.0%} | {speed:.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--searches", type=int, default=200)
    searches = parser.parse_args().searches
    print("| models | rows that choose | chosen by | green at first, as said | as it was | true loss within the bound | time taken |")
    print("|---|---|---|---|---|---|---|")
    for line in lines(searches):
        print(line, flush=True)


if __name__ == "__main__":
    main()
