"""Does the search ever take something slower than fp32? Twenty searches over 8-bit passes, on models that 8-bit products make slower.

    python benchmarks/optimize/no_regress.py [--runs 20] [--budget 60s] [--folder build/optimize] [--write PAGE]

Each run has a seed of its own (rows, order of measurements), begins without anything kept, and ends with a comparison that the search has
no part in: its best against the untouched model, opened anew, in pairs. Rows are kept in FOLDER/no_regress.jsonl as they come.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import models
from results import Results, publish

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
    command = [sys.executable, "-m", "fairlead", "optimize", str(models.converted(case)), "--data", str(case.data), "--passes", PASSES]
    command += ["--require", "accuracy_drop<=0.02", "--budget", budget, "--out", str(out), "--home", str(home.resolve())]
    environment = {**os.environ, "FAIRLEAD_SEED": str(seed), "FAIRLEAD_ENGINES": "onnxruntime"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    shutil.rmtree(home, ignore_errors=True)
    return out


def measure(name: str, seed: int, run: int, folder: Path, budget: str) -> dict[str, Any]:
    """Return what became of one run."""
    started = time.perf_counter()
    out = search(name, seed, folder, budget)
    seconds = time.perf_counter() - started
    result = load((out / "search.json").read_bytes(), SearchResult)
    interface = load((out / "best" / "interface.json").read_bytes(), Interface)
    case = models.make(name, folder)
    rows = repeat_rows(load_dataset(case.data, interface).inputs, 1)
    compared = decide_faster(
        lambda: OnnxRuntimeEngine(out / "best" / "model.onnx", interface),
        lambda: OnnxRuntimeEngine(models.converted(case), interface),
        rows,
        PairLimits(time_s=10.0, seed=1000 + run),
    )
    return {
        "model": name,
        "seed": seed,
        "seconds": seconds,
        "tried": len(result.points) - 1,
        "slower": sum(point.status is PointStatus.UNDONE for point in result.points),
        "best": result.best,
        "compared": str(compared),
        "is_regression": compared.outcome is Outcome.SLOWER,
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = ["| model | seed | tried | 8-bit points shown to be slower | taken | against fp32, afterwards |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['model']} | {row['seed']} | {row['tried']} | {row['slower']} | `{row['best']}` | {row['compared']} |"
        for row in rows.values()
    ]
    count = sum(row["is_regression"] for row in rows.values())
    return "\n".join([*lines, "", f"{count} regressions in {len(rows)} runs."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    results = Results(options.folder / "no_regress.jsonl")
    for run in range(options.runs):
        name, seed = CASES[run % len(CASES)], run // len(CASES)
        if f"{name} {seed}" not in results.rows:
            row = results.add(f"{name} {seed}", **measure(name, seed, run, options.folder, options.budget))
            print(row, file=sys.stderr, flush=True)
    publish("no_regress", table(results.rows), options.write)


if __name__ == "__main__":
    main()
