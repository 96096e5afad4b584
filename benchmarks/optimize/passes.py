"""What each pass over graphs does to real networks: bytes, bytes after gzip -9, accuracy, and latency at batch 1 and 32 on one thread.

python benchmarks/optimize/passes.py [--folder build/optimize] [--only NAME ...] [--seconds 0.5] [--write docs/reference/passes.md]

The networks are those of models.py, and a perceptron of two layers of 1,024 on digits. Each is converted by `fairlead convert`; passes get
512 training rows to measure on; accuracy is that of rows which no pass saw. All files of a network are timed together, in turns; medians.
With --write, the tables go between the marks `<!-- passes -->` of that file. Needs Keras, scikit-learn, onnxslim and mlxtend.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models
import numpy as np
from results import publish

from fairlead.core.interface import Interface, Tensors
from fairlead.core.plan import Candidate
from fairlead.engines.machine import describe_machine
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.engines.stopwatch import Timing, TimingLimits, compare_engines
from fairlead.errors import InputError
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize

RECIPES = (
    "clean_graph",
    "optimize_graph",
    "slim_graph",
    "store_fp16",
    "store_int8",
    "store_int4",
    "quantize_dynamic_int8",
    "quantize_static_int8",
    "quantize_mixed_int8(max_error=0.005)",
    "quantize_weights_nbits",
    "quantize_weights_nbits(bits=4)",
    "factorize_dense",
    "factorize_dense(energy=0.999)",
    "factorize_dense, store_int8",
    "factorize_dense, store_int4",
)
NETWORKS = ("digit_cnn", "wide_cnn", "tabular_mlp", "digit_mlp", "sequence_transformer")
BATCHES = (1, 32)
ROWS = 512


@dataclass(frozen=True)
class Made:
    """What a recipe gave: a file with its engine, or the reason for refusing."""

    recipe: str
    path: Path | None
    reason: str = ""


def digit_mlp(folder: Path) -> str:
    """A perceptron of two layers of 1,024 on digits: products that wait for memory."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    x, y = models.save(folder, *models.digits(), 4000)
    model = MLPClassifier((1024, 1024), max_iter=6, random_state=models.SEED).fit(x, y)
    written = to_onnx(model, x[:1], options={"zipmap": False, "output_class_labels": False})
    (folder / "model.onnx").write_bytes(written.SerializeToString())
    return "model.onnx"


models.CASES.setdefault("digit_mlp", digit_mlp)


def make(recipe: str, model: Path, rows: Tensors, folder: Path) -> Made:
    candidate = Candidate("one", tuple(part.strip() for part in re.split(r",\s*(?![^(]*\))", recipe)), "onnxruntime", 1, "")
    try:
        path, _ = optimize(candidate, model, folder / re.sub(r"\W+", "-", recipe), Supplies(rows=rows))
    except InputError as error:
        return Made(recipe, None, error.message)
    return Made(recipe, path)


def open_engine(path: Path) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(path, Interface(*session_specs(open_session(path, thread_count=1, optimization="all"))))


def accuracy(engine: OnnxRuntimeEngine, rows: Tensors, target: np.ndarray) -> float:
    outputs = engine.run(rows)
    scores = next(tensor for tensor in outputs.values() if tensor.dtype == np.float32)
    return float((scores.argmax(axis=-1) == target).mean())


def measure(name: str, folder: Path, seconds: float) -> str:
    """Return the table of one network."""
    case = models.make(name, folder)
    model = models.converted(case)
    (spec,) = open_engine(model).interface.inputs
    with np.load(case.train) as train, np.load(case.data) as data:
        rows = {spec.name: train["x"][:ROWS]}
        asked, target = {spec.name: data["x"]}, data["y"]
    made = [Made("(converted)", model), *(make(recipe, model, rows, folder / name / "passes") for recipe in RECIPES)]
    engines = {one.recipe: open_engine(one.path) for one in made if one.path is not None}
    timings: dict[int, dict[str, Timing]] = {}
    for batch in BATCHES:
        few = {key: tensor[:batch] for key, tensor in asked.items()}
        timings[batch] = compare_engines(engines, few, TimingLimits(2000, seconds))
    lines = [
        f"**{name}** ({models.CASES[name].__doc__})",
        "",
        "| passes | bytes | gzip -9 | accuracy | µs, 1 row | µs, 32 rows |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in made:
        if one.path is None:
            lines.append(f"| `{one.recipe}` | refused: {one.reason} | | | | |")
            continue
        content = one.path.read_bytes()
        times = " | ".join(f"{timings[batch][one.recipe].percentile_ms(50) * 1000:,.0f}" for batch in BATCHES)
        share = accuracy(engines[one.recipe], asked, target)
        packed = len(gzip.compress(content, 9, mtime=0))
        lines.append(f"| `{one.recipe}` | {len(content):,} | {packed:,} | {share:.4f} | {times} |".replace("`(converted)`", "as converted"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--seconds", type=float, default=0.5, help="of timed calls for each file and batch")
    parser.add_argument("--write", type=Path, help="the page that the tables stand in")
    options = parser.parse_args()
    machine = describe_machine()
    sets = ", ".join(machine.instruction_sets)
    versions = json.dumps({name: machine.versions[name] for name in ("python", "onnxruntime") if name in machine.versions})
    tables = [measure(name, options.folder, options.seconds) for name in options.only]
    text = "\n\n".join([f"{machine.processor}, {machine.core_count} cores ({sets}); {versions}.", *tables])
    publish("passes", text, options.write)


if __name__ == "__main__":
    main()
