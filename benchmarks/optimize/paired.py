"""Does the paired comparison decide rightly on this machine? Equal models (A/A) and models whose difference is known.

    python benchmarks/optimize/paired.py [--rounds 100] [--folder cases] [--write PAGE]

A/A compares a model with itself: each decision "faster" or "slower" is wrong, and may occur in 1 % of the rounds. A/B compares it with
models of a known share of its work. Prints the table of docs/reference/search.md.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import onnx
from onnx import helper, numpy_helper
from results import publish

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.paired import Opener, PairLimits, decide_faster

SIZE = 96
INTERFACE = Interface((TensorSpec("x", DType.FP32, (None, SIZE)),), (TensorSpec("y", DType.FP32, (None, SIZE)),))


def chain(path: Path, count: int) -> Opener:
    """A model of `count` equal products, one after the other: the work is known."""
    weights = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32) / 10
    names = ["x", *(f"h{number}" for number in range(1, count)), "y"]
    nodes = [helper.make_node("MatMul", [names[place], "w"], [names[place + 1]]) for place in range(count)]
    values = [[helper.make_tensor_value_info(name, 1, ["batch", SIZE])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *values, [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return lambda: OnnxRuntimeEngine(path, INTERFACE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("build/paired"))
    parser.add_argument("--time-s", type=float, default=2.0)
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    base = chain(options.folder / "100.onnx", 100)
    rows = {"x": np.random.default_rng(1).normal(size=(1, SIZE)).astype(np.float32)}
    lines = [
        "| B against A | rounds | faster | slower | equal | open | median time ratio | pairs | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for count in (100, 90, 80, 110, 150, 200):
        other = chain(options.folder / f"{count}.onnx", count)
        rounds = options.rounds if count == 100 else max(options.rounds // 10, 1)
        started = time.perf_counter()
        found = [decide_faster(other, base, rows, PairLimits(time_s=options.time_s, seed=seed)) for seed in range(rounds)]
        outcomes = collections.Counter(one.outcome.value for one in found)
        ratio, pairs = np.median([one.ratio for one in found]), np.median([one.pair_count for one in found])
        each_s = (time.perf_counter() - started) / rounds
        shown = " | ".join(str(outcomes[name]) for name in ("faster", "slower", "equal", "open"))
        lines.append(f"| {count} % of the work | {rounds} | {shown} | {ratio:.3f} | {pairs:.0f} | {each_s:.2f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    publish("paired", "\n".join(lines), options.write)


if __name__ == "__main__":
    main()
