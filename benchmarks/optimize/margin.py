"""Does choosing by the chance to hold on other rows keep more promises than choosing by what held on these, and what does it cost?

Searches over drawn models, no network: each model has a time and true shares of rows that it loses and wins; stronger ones are faster and
lose more. Half of the rows choose, the other half give the verdict, up to four looks. Prints a table for docs/reference/search.md.

    python benchmarks/optimize/margin.py [--searches 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fairlead.core.search import Objective
from fairlead.optimize.search.front import Finding, ranked
from fairlead.verify.keeping import JEFFREYS, chance_of_loss, prior_of

BOUND, MODELS, LOOKS = 0.005, 40, 4
_chance = lru_cache(maxsize=None)(chance_of_loss)


@dataclass
class Outcome:
    """What one search gave: whether the first look was green, how likely that seemed, the time of what was taken, and whether its true
    loss is within the bound.
    """

    is_first_green: bool
    chance: float
    time_ratio: float
    is_kept: bool


def search(generator: np.random.Generator, rows: int, *, weighs: bool) -> Outcome:
    """Draw models, choose on `rows` rows, look at as many others."""
    strength = np.sort(generator.uniform(0, 1, MODELS))
    times = 1 - 0.8 * strength
    drop = 0.03 * strength**6 + 0.002 * generator.normal(size=MODELS) * strength
    moved = 0.002 + 0.05 * strength**2 + np.abs(drop)
    shares = np.stack([(moved + drop) / 2, (moved - drop) / 2, 1 - moved], axis=1)
    seen, new = (generator.multinomial(rows, shares) for _ in range(2))
    prior = prior_of([(lost, won) for lost, won, _ in seen.tolist()]) if weighs else JEFFREYS
    prior = round(prior[0], 1), round(prior[1], 1)  # few different ones, so that chances are remembered
    findings = []
    for place, (lost, won, _) in enumerate(seen.tolist()):
        holds = lost - won <= BOUND * rows
        chance = _chance(lost, won, rows, allowed=BOUND, unseen=rows, prior=prior) if weighs and holds else 1.0
        findings.append(Finding((), holds, 1000 + place, float(times[place]), chance=chance))
    best = ranked(findings, Objective.LATENCY)
    chance = best[0].chance if best else 1.0
    order = [finding.size_bytes - 1000 for finding in best]
    green = [int(new[place, 0] - new[place, 1]) <= BOUND * rows for place in order]
    taken = next((place for place, is_green in zip(order[:LOOKS], green[:LOOKS], strict=True) if is_green), None)
    if taken is None:  # the model that no pass has touched
        return Outcome(bool(green and green[0]), chance, 1.0, is_kept=True)
    return Outcome(green[0], chance, float(times[taken]), bool(drop[taken] <= BOUND))


def lines(searches: int, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the rows of the table."""
    for rows in (200, 500, 2000):
        for weighs in (False, True):
            generator = np.random.default_rng(rows)
            found = [search(generator, rows, weighs=weighs) for _ in range(searches)]
            say(f"{rows} rows, {'chance' if weighs else 'bound alone'}: done")
            first = np.mean([one.is_first_green for one in found])
            kept = np.mean([one.is_kept for one in found])
            said = f"{np.mean([one.chance for one in found]):.0%}" if weighs else "-"
            speed = np.exp(np.mean([np.log(one.time_ratio) for one in found]))
            by = "the chance to hold" if weighs else "the bound on these rows"
            yield f"| {rows} | {by} | {said} | {first:.0%} | {kept:.0%} | {speed:.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--searches", type=int, default=1000)
    searches = parser.parse_args().searches
    print("| rows that choose | chosen by | green at first, as said | as it was | true loss within the bound | time of what is taken |")
    print("|---|---|---|---|---|---|")
    for line in lines(searches, lambda _text: None):
        print(line)


if __name__ == "__main__":
    main()
