"""Does the search ever take something slower than fp32? Twenty searches over 8-bit passes, on models that 8-bit products make slower.

    python benchmarks/optimize/no_regress.py [--runs 20] [--budget 60s] [--folder build/optimize]

Each run has a seed of its own (rows, order of measurements), begins without anything kept, and ends with a comparison that the search has
no part in: its best against the untouched model, opened anew, in pairs. Prints the table of docs/reference/search.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models

from fairlead.core.interface import Interface
from fairlead.core.paired import Outcome
from fairlead.core.search import PointStatus, SearchResult
from fairlead.datasets.load import load_dataset
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.paired import PairLimits, decide_faster
from fairlead.stores.document import load
from fairlead.verify.run_rows import repeat_rows

CASES = ("digit_cnn", "tabular_mlp")
PASSES = "quantize_static_int8(method=minmax),quantize_dynamic_int8"


def search(name: str, seed: int, folder: Path, budget: str) -> Path:
    """Run the search with nothing kept; return the folder that it wrote."""
    case = models.make(name, folder)
    out, home = folder / f"regress-{name}-{seed}", folder / f"regress-home-{name}-{seed}"
    for place in (out, home):
        shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "fairlead", "optimize", str(case.model), "--data", str(case.data), "--passes", PASSES]
    command += ["--require", "accuracy_drop<=0.02", "--budget", budget, "--out", str(out), "--home", str(home.resolve())]
    environment = {**os.environ, "FAIRLEAD_SEED": str(seed), "FAIRLEAD_ENGINES": "onnxruntime"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    shutil.rmtree(home, ignore_errors=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    options = parser.parse_args()
    print("| model | seed | tried | 8-bit points slower than fp32 | taken | against fp32, afterwards |")
    print("|---|---|---|---|---|---|")
    regressions = 0
    for run in range(options.runs):
        name, seed = CASES[run % len(CASES)], run // len(CASES)
        out = search(name, seed, options.folder, options.budget)
        result = load((out / "search.json").read_bytes(), SearchResult)
        interface = load((out / "best" / "interface.json").read_bytes(), Interface)
        rows = repeat_rows(load_dataset(options.folder / name / "data.npz", interface).inputs, 1)
        plain = _plain(options.folder, name)
        compared = decide_faster(
            lambda path=out / "best" / "model.onnx", kind=interface: OnnxRuntimeEngine(path, kind),
            lambda path=plain, kind=interface: OnnxRuntimeEngine(path, kind),
            rows,
            PairLimits(time_s=10.0, seed=1000 + run),
        )
        regressions += compared.outcome is Outcome.SLOWER
        slower = sum(point.status is PointStatus.UNDONE for point in result.points)
        print(f"| {name} | {seed} | {len(result.points) - 1} | {slower} | {result.best} | {compared} |", flush=True)
    print(f"\n{regressions} regressions in {options.runs} runs")


def _plain(folder: Path, name: str) -> Path:
    """The untouched model as ONNX, converted once."""
    out = folder / f"{name}-onnx"
    if not out.exists():
        command = [sys.executable, "-m", "fairlead", "convert", str(models.make(name, folder).model), "--to", "onnx", "--out", str(out)]
        subprocess.run([*command, "--home", str((folder / "home").resolve())], check=True, capture_output=True)
    return out / "model.onnx"


if __name__ == "__main__":
    main()
