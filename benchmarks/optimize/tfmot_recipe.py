"""What TensorFlow Model Optimization's own recipes make of the small digit CNN, beside the best point of Fairlead's search.

    python benchmarks/optimize/tfmot_recipe.py FOLDER [--search search.json]

Run it where the extra `tfmot` is installed. Each recipe is the pass `train_tfmot` (pruning to 80 and 90 %, clustering to 16 values,
training for 8 bits, and all of them), stored as it is, in 8 bits, and computed in 8 bits; accuracy is measured on 1,000 digits that none
of them trained on, size after gzip -9. Prints a table; with the search's result, whether its point is no larger at equal accuracy.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

from models import make

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.rebuilding import rebuilder
from fairlead.app.wiring import build_house
from fairlead.cli.printing import StepProgress
from fairlead.core.dataset import Dataset
from fairlead.core.interface import decide
from fairlead.core.plan import Candidate
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize

RECIPES = {
    "as converted": (),
    "prune 80 %": ("train_tfmot(method=prune)",),
    "prune 90 %": ("train_tfmot(method=prune, sparsity=0.9)",),
    "cluster 16": ("train_tfmot(method=cluster)",),
    "train for 8 bits": ("train_tfmot(method=quantize)",),
    "prune 80 % + cluster 16": ("train_tfmot(method=prune_cluster)",),
    "prune 80 % + 8 bits": ("train_tfmot(method=prune_quantize)",),
    "all three": ("train_tfmot(method=prune_cluster_quantize)",),
}
ENDINGS = {"float32": (), "stored in 8 bits": ("store_int8",), "computed in 8 bits": ("quantize_static_int8",)}


def accuracy(path: Path, interface, rows: Dataset) -> float:
    engine = OnnxRuntimeEngine(path, interface)
    answers = decide(interface, engine.run(rows.inputs))
    engine.close()
    return float((answers == rows.target).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--search", type=Path, help="search.json of fairlead optimize on the same model")
    options = parser.parse_args()
    options.folder = options.folder.resolve()  # the sandbox works in folders of its own
    case = make("digit_cnn", options.folder)
    house, progress = build_house(options.folder / "home"), StepProgress(is_silent=True)
    work = options.folder / f"tfmot-{time.monotonic_ns()}"
    artifact, rows = take_in(Intake(case.model, case.data), house, work / "in", progress)
    _, training = take_in(Intake(case.model, case.train), house, work / "train", progress)
    conversion = to_onnx(artifact, house, work / "convert", progress)
    supplies = Supplies(
        rows=training.take(0, 512).inputs,
        training=training,
        interface=conversion.interface,
        artifact=artifact,
        sandbox=house.sandbox,
        rebuild=rebuilder(house.sandbox),
        thread_count=2,
    )
    original = len(gzip.compress(case.model.read_bytes(), 9))
    print(f"| recipe | form | accuracy | bytes | gzip | of the .h5's gzip ({original:,}) | training s |\n|---|---|---|---|---|---|---|")
    points = []
    for name, passes in RECIPES.items():
        started = time.monotonic()
        trained, _ = optimize(Candidate(name, passes, "onnxruntime", 1, ""), conversion.path, work / name.replace(" ", "-"), supplies)
        seconds = time.monotonic() - started
        for ending, more in ENDINGS.items():
            folder = work / f"{name}-{ending}".replace(" ", "-")
            made, _ = optimize(Candidate(name, more, "onnxruntime", 1, ""), trained, folder, supplies)
            right, size = accuracy(made, conversion.interface, rows), len(gzip.compress(made.read_bytes(), 9))
            points.append((name, ending, right, size))
            print(
                f"| {name} | {ending} | {right:.3f} | {made.stat().st_size:,} | {size:,} | 1/{original / size:.0f} | {seconds:.0f} |",
                flush=True,
            )
    if options.search:
        compare(json.loads(options.search.read_text(encoding="utf-8")), points)


def compare(search: dict, points: list[tuple[str, str, float, int]]) -> None:
    """Print the smallest recipe that loses at most half a point, and the search's best."""
    base = points[0][2]
    name, ending, right, size = min((one for one in points if one[2] >= base - 0.005), key=lambda one: one[3])
    best = next(one for one in search["points"] if one["candidate"]["name"] == search["best"])
    print(f"\nsmallest recipe within half a point: {name}, {ending}: accuracy {right:.3f}, {size:,} bytes after gzip")
    print(f"the search's best: {best['candidate']['name']}: {best['compressed_bytes']:,} bytes after gzip, {best['values']}")
    print(f"ratio: {best['compressed_bytes'] / size:.2f} (1 or less: no larger)")


if __name__ == "__main__":
    main()
