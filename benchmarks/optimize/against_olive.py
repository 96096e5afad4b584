"""The search's best point beside Olive's, without training rows, at equal accuracy: the networks of models.py.

    python benchmarks/optimize/against_olive.py --olive PYTHON [--budget 90] [--folder build/optimize] [--only digit_cnn,...] [--write PAGE]

Olive needs an environment of its own: python -m venv other, then other/bin/pip install 'olive-ai==0.13.*' onnxruntime scikit-learn
requests optuna, then --olive other/bin/python. Both start from the same ONNX file, choose on the same rows, calibrate on the same others,
and get the same time; Fairlead is held to ONNX Runtime. Then the two best are compared in pairs, and asked for rows that neither has seen.
Rows are kept in FOLDER/against_olive.jsonl as they come.
"""

from __future__ import annotations

import argparse
import json
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
import numpy as np
from results import Results, publish

from fairlead.core.interface import Interface
from fairlead.core.search import SearchResult
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.paired import PairLimits, decide_faster
from fairlead.stores.document import load

NETWORKS = ("digit_cnn", "wide_cnn", "tabular_mlp", "sequence_transformer")
FLOOR = 0.005
PASSES = (
    "quantize_static_int8",
    "quantize_dynamic_int8",
    "quantize_mixed_int8",
    "store_fp16",
    "store_int8",
    "factorize_dense",
    "optimize_graph",
    "clean_graph",
)


def divided(case: models.Case) -> tuple[Path, Path]:
    """Write the rows to choose with and the rows that nobody sees, half of data.npz each."""
    choosing, unseen = case.data.with_name("choosing.npz"), case.data.with_name("unseen.npz")
    with np.load(case.data) as data:
        half = len(data["x"]) // 2
        np.savez(choosing, x=data["x"][:half], y=data["y"][:half])
        np.savez(unseen, x=data["x"][half:], y=data["y"][half:])
    return choosing, unseen


def ours(case: models.Case, choosing: Path, budget_s: float, out: Path) -> tuple[Path, float, SearchResult]:
    """Run `fairlead optimize` with nothing kept; return the best file and the seconds that it took."""
    home = out.with_name(out.name + "-home")
    for place in (out, home):
        shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "fairlead", "optimize", str(models.converted(case)), "--data", str(choosing)]
    command += ["--require", f"accuracy_drop<={FLOOR}", "--passes", ",".join(PASSES)]
    command += ["--budget", f"{budget_s:g}s", "--out", str(out), "--home", str(home)]
    started = time.perf_counter()
    environment = {**os.environ, "FAIRLEAD_ENGINES": "onnxruntime"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return out / "best" / "model.onnx", time.perf_counter() - started, load((out / "search.json").read_bytes(), SearchResult)


def theirs(python: str, case: models.Case, choosing: Path, budget_s: float, out: Path) -> dict[str, Any]:
    """Run Olive's workflow; return what it wrote."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = Path(__file__).with_name("olive_workflow.py").resolve()
    rows = (str(case.train.resolve()), str(choosing.resolve()))
    command = [python, str(script), str(models.converted(case).resolve()), *rows, str(out), f"{budget_s:g}", f"{FLOOR}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=out)
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def measure(name: str, budget_s: float, python: str, folder: Path) -> dict[str, Any]:
    """Return both best points of a network and how they compare."""
    case = models.make(name, folder)
    choosing, unseen = divided(case)
    path, seconds, result = ours(case, choosing, budget_s, folder / f"olive-{name}-ours")
    olive = theirs(python, case, choosing, budget_s, folder / f"olive-{name}-theirs")
    interface = load((path.parent / "interface.json").read_bytes(), Interface)
    other = Path(olive["model"]) if olive["model"] else models.converted(case)
    with np.load(unseen) as data:
        rows, target = {interface.inputs[0].name: data["x"]}, data["y"]
    one = {name: tensor[:1] for name, tensor in rows.items()}
    compared = decide_faster(
        lambda: OnnxRuntimeEngine(path, interface), lambda: OnnxRuntimeEngine(other, interface), one, PairLimits(time_s=10.0)
    )
    points = {
        label: {"right": _right(file, interface, rows, target), "bytes": file.stat().st_size}
        for label, file in (("untouched", models.converted(case)), ("ours", path), ("olive", other))
    }
    points["ours"] |= {"best": result.best, "seconds": seconds}
    points["olive"] |= {"best": "its best" if olive["model"] else "none", "seconds": olive["seconds"]}
    said = f"{compared.ratio:.2f} (99 %: {compared.low:.2f} to {compared.high:.2f})"
    return {"model": name, "budget_s": budget_s, "compared": said, "version": olive["version"], **points}


def _right(file: Path, interface: Interface, rows: Mapping[str, np.ndarray], target: np.ndarray) -> float:
    engine = OnnxRuntimeEngine(file, interface)
    answers = engine.run(rows)[interface.outputs[0].name]
    engine.close()
    return float((answers.argmax(-1) == target).mean())


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """All rows as Markdown."""
    head = "| model | by | best | accuracy on rows that neither saw | bytes | s | time of Fairlead's over Olive's |"
    lines = [head, "|---|---|---|---:|---:|---:|---|"]
    for row in rows.values():
        lines.append(f"| {row['model']} | untouched | | {row['untouched']['right']:.4f} | {row['untouched']['bytes']:,} | | |")
        for label, shown in (("ours", "Fairlead"), ("olive", f"Olive {row['version']}")):
            one, compared = row[label], row["compared"] if label == "ours" else ""
            values = f"{one['right']:.4f} | {one['bytes']:,} | {one['seconds']:.0f}"
            lines.append(f"| {row['model']} | {shown} | `{one['best']}` | {values} | {compared} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--olive", required=True, help="an interpreter whose environment has olive-ai")
    parser.add_argument("--budget", type=float, default=90.0)
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    folder = options.folder.resolve()
    results = Results(folder / "against_olive.jsonl")
    for name in options.only.split(","):
        if name not in results.rows:
            print(results.add(name, **measure(name, options.budget, options.olive, folder)), file=sys.stderr, flush=True)
    publish("olive", table(results.rows), options.write)


if __name__ == "__main__":
    main()
