"""What TensorFlow Model Optimization's own recipes make of the small digit CNN, beside the best point of Fairlead's search.

    python benchmarks/optimize/tfmot_recipe.py FOLDER [--search OUT] [--write PAGE]

Run it where the extra `tfmot` is installed. Each recipe is the pass `train_tfmot` (pruning to 80 and 90 %, clustering to 16 values,
training for 8 bits, and all of them), stored as it is, in 8 bits, and computed in 8 bits; accuracy is measured on 1,000 digits that none
of them trained on, size after gzip -9. With what the search wrote, it is said how large its best is beside the smallest recipe. Rows are
kept in FOLDER/tfmot.jsonl as they come.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

from models import Case, make
from results import Results, publish

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.rebuilding import rebuilder
from fairlead.app.wiring import build_house
from fairlead.cli.printing import StepProgress
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface, decide
from fairlead.core.plan import Candidate
from fairlead.datasets.load import load_dataset
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize
from fairlead.stores.document import load

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


def measure(results: Results, case: Case, folder: Path) -> None:
    """Train every recipe that has no row yet, and keep what it gave."""
    house, progress = build_house(folder / "home"), StepProgress(is_silent=True)
    work = folder / f"tfmot-{time.monotonic_ns()}"
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
    for name, passes in RECIPES.items():
        if all(f"{name}, {ending}" in results.rows for ending in ENDINGS):
            continue
        started = time.monotonic()
        trained, _ = optimize(Candidate(name, passes, "onnxruntime", 1, ""), conversion.path, work / name.replace(" ", "-"), supplies)
        seconds = time.monotonic() - started
        for ending, more in ENDINGS.items():
            place = work / f"{name}-{ending}".replace(" ", "-")
            made, _ = optimize(Candidate(name, more, "onnxruntime", 1, ""), trained, place, supplies)
            right = accuracy(made, conversion.interface, rows)
            row = results.add(f"{name}, {ending}", right=right, bytes=made.stat().st_size, packed=packed_size(made), seconds=seconds)
            print(row, file=sys.stderr, flush=True)


def packed_size(path: Path) -> int:
    """Bytes after gzip -9."""
    return len(gzip.compress(path.read_bytes(), 9, mtime=0))


def table(rows: Mapping[str, Mapping[str, Any]], case: Case, best: Path | None) -> str:
    """All rows as Markdown, and what the search's best is beside the smallest recipe that loses at most half a point."""
    original = packed_size(case.model)
    lines = [
        f"| recipe | form | accuracy | bytes | gzip | of the .h5's gzip ({original:,}) | training s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = f"{row['right']:.3f} | {row['bytes']:,} | {row['packed']:,} | 1/{original / row['packed']:.0f} | {row['seconds']:.0f}"
        lines.append(f"| {' | '.join(name.rsplit(', ', 1))} | {cells} |")
    base = next(iter(rows.values()))["right"]
    name, row = min(((name, row) for name, row in rows.items() if row["right"] >= base - 0.005), key=lambda item: item[1]["packed"])
    lines += ["", f"The smallest within half a point: {name}, {row['packed']:,} bytes after gzip at {row['right']:.3f}."]
    if best is not None:
        interface = load((best / "interface.json").read_bytes(), Interface)
        size, right = packed_size(best / "model.onnx"), accuracy(best / "model.onnx", interface, load_dataset(case.data, interface))
        lines.append(f"The search's best: {size:,} bytes at {right:.3f}, {size / row['packed']:.2f} of that.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--search", type=Path, help="the folder that fairlead optimize wrote for the same model")
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    folder = options.folder.resolve()  # the sandbox works in folders of its own
    case, results = make("digit_cnn", folder), Results(folder / "tfmot.jsonl")
    if len(results.rows) < len(RECIPES) * len(ENDINGS):
        measure(results, case, folder)
    publish("tfmot", table(results.rows, case, options.search / "best" if options.search else None), options.write)


if __name__ == "__main__":
    main()
