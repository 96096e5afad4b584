"""Are merged sketches within their stated error, and within their size? Prints the table of docs/reference/drift.md.

    python benchmarks/monitor/drift_sketches.py [--rows 1000000] [--parts 1000]

Values are cut into parts, a sketch is made of each, and these are merged one by one, in pairs as a tree, or in a random order. The error
is the largest of 99 ranks, as a share of the rows; `stated` is what each sketch says of itself at 99 % for all 99 together.
"""

from __future__ import annotations

import argparse
import functools

import numpy as np

from fairlead.core.sketch import FeatureSketch
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.sketch import distinct, quantiles
from fairlead.monitor.sketch.update import empty, merge, update


def shapes(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "normal": generator.normal(size=rows),
        "lognormal, sigma 3": generator.lognormal(0.0, 3.0, rows),
        "whole numbers 0 to 99": generator.integers(0, 100, rows).astype(float),
        "in order": np.arange(rows, dtype=float),
        "one value in 9 of 10": np.where(generator.random(rows) < 0.9, 7.0, generator.random(rows)),
    }


def tree(sketches: list[FeatureSketch]) -> FeatureSketch:
    while len(sketches) > 1:
        pairs = [merge(one, two) for one, two in zip(sketches[::2], sketches[1::2], strict=False)]
        sketches = pairs + (sketches[-1:] if len(sketches) % 2 else [])
    return sketches[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=1000)
    asked = parser.parse_args()
    print("| values | merged | error of ranks | stated | distinct | true | bytes |")
    print("|---|---|---|---|---|---|---|")
    for name, values in shapes(asked.rows).items():
        profile = profile_column("x", values[:5000], input_name="x")
        parts = [update(empty(profile), profile, part) for part in np.array_split(values, asked.parts)]
        order = np.random.default_rng(1).permutation(len(parts))
        ways = {
            "not at all": update(empty(profile), profile, values),
            "one by one": functools.reduce(merge, parts),
            "as a tree": tree(parts),
            "in a random order": functools.reduce(merge, [parts[place] for place in order]),
        }
        ordered = np.sort(values)
        points = np.quantile(ordered, np.arange(1, 100) / 100, method="inverted_cdf")
        true = np.searchsorted(ordered, points, side="right")
        exact = ways["not at all"].by_row.cells
        for way, sketch in ways.items():
            wrong = np.abs(quantiles.ranks(sketch.quantiles, points) - true).max() / len(values)
            stated = quantiles.rank_error(sketch.quantiles, 1 - 0.01 / 99)
            if (sketch.by_row.cells != exact).any():
                raise SystemExit("the counts of the bins differ")
            print(
                f"| {name} | {way} | {wrong:.3%} | {stated:.3%} | {distinct.estimate(sketch.hashes):,.0f} | {len(np.unique(values)):,} "
                f"| {len(sketch.to_bytes()):,} |"
            )


if __name__ == "__main__":
    main()
