"""The small CNN on real digits: how small and how fast within 10 minutes, at most half a percent of accuracy lost.

    python benchmarks/optimize/digit_cnn.py [--budget 10m] [--folder build/optimize] [--write PAGE]

Runs `fairlead optimize` as a user would, with nothing kept, and prints bytes (plain and gzip -9) of the .h5 and of the best model, and how
fast it is at batch 1 on one thread, in pairs of models opened anew, after the search.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models
import numpy as np
from results import publish

from fairlead.core.interface import Interface
from fairlead.core.search import SearchResult
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.paired import PairLimits, decide_faster
from fairlead.stores.document import load

SIZE_MB = 0.05  # a fiftieth of what the .h5 takes after gzip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--objective", default="latency")
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    case = models.make("digit_cnn", options.folder)
    out = options.folder / "digit_cnn-optimized"
    home = options.folder / "digit_cnn-home"
    for place in (out, home):
        shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "fairlead", "optimize", str(case.model), "--data", str(case.data), "--train", str(case.train)]
    command += [
        "--require",
        "accuracy_drop<=0.005",
        "--require",
        f"size_mb<={SIZE_MB}",
        "--budget",
        options.budget,
        "--objective",
        options.objective,
    ]
    command += ["--out", str(out), "--home", str(home.resolve())]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    result = load((out / "search.json").read_bytes(), SearchResult)
    best = result.point(result.best)
    if best is None:
        raise SystemExit("the search kept no point of its best")
    interface = load((out / "best" / "interface.json").read_bytes(), Interface)
    files = {"as converted": models.converted(case), f"`{best.candidate.name}`": out / "best" / "model.onnx"}
    with np.load(case.data) as data:
        rows, target = {interface.inputs[0].name: data["x"]}, data["y"]
    whole = {name: _right(path, interface, rows, target) for name, path in files.items()}
    plain, small = files.values()
    one = {name: tensor[:1] for name, tensor in rows.items()}
    compared = decide_faster(
        lambda: OnnxRuntimeEngine(small, interface), lambda: OnnxRuntimeEngine(plain, interface), one, PairLimits(time_s=20.0)
    )
    packed = len(gzip.compress(case.model.read_bytes(), 9, mtime=0))
    lines = ["| | bytes | gzip -9 | of the .h5's gzip | accuracy, all 1,000 rows | time of a call |", "|---|---:|---:|---:|---:|---|"]
    lines.append(f"| {case.model.name} | {case.model.stat().st_size:,} | {packed:,} | | | |")
    for name, path in files.items():
        size = len(gzip.compress(path.read_bytes(), 9, mtime=0))
        speed = "1" if path is plain else f"{compared.ratio:.3f} (99 %: {compared.low:.3f} to {compared.high:.3f})"
        lines.append(f"| {name} | {path.stat().st_size:,} | {size:,} | 1/{packed / size:.0f} | {whole[name]:.3f} | {speed} |")
    lines += ["", f"Found in {seconds:.0f} s, {len(result.points)} models tried; {result.stopped}."]
    publish("digit_cnn", "\n".join(lines), options.write)


def _right(path: Path, interface: Interface, rows: dict[str, np.ndarray], target: np.ndarray) -> float:
    engine = OnnxRuntimeEngine(path, interface)
    answers = engine.run(rows)[interface.outputs[0].name]
    engine.close()
    return float((answers.argmax(-1) == target).mean())


if __name__ == "__main__":
    main()
