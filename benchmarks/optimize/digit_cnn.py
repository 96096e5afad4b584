"""The small CNN on real digits: how small and how fast within 10 minutes, at most half a percent of accuracy lost.

    python benchmarks/optimize/digit_cnn.py [--budget 10m] [--folder build/optimize]

Runs `fairlead optimize` as a user would, and prints the table of docs/reference/search.md: bytes (plain and gzip -9) of the .h5 and of the
best model, and their times at batch 1 on one thread, compared in pairs.
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

from fairlead.core.search import SearchResult
from fairlead.stores.document import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--objective", default="latency")
    options = parser.parse_args()
    case = models.make("digit_cnn", options.folder)
    out = options.folder / "digit_cnn-optimized"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "fairlead", "optimize", str(case.model), "--data", str(case.data), "--train", str(case.train)]
    command += ["--require", "accuracy_drop<=0.005", "--budget", options.budget, "--objective", options.objective]
    command += ["--out", str(out), "--home", str((options.folder / "home").resolve())]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    result = load((out / "search.json").read_bytes(), SearchResult)
    best, baseline = result.point(result.best), result.point(result.baseline)
    if best is None or baseline is None:
        raise SystemExit("the search kept no point of its best")
    h5 = case.model.read_bytes()
    packed = len(gzip.compress(h5, 9))
    print("\n| | bytes | gzip -9 | ms at batch 1 | accuracy lost (verdict rows) |")
    print("|---|---|---|---|---|")
    print(f"| {case.model.name} | {len(h5):,} | {packed:,} | | |")
    print(f"| {baseline.candidate.name} (fp32) | {baseline.size_bytes:,} | {baseline.compressed_bytes:,} | {baseline.latency_ms:.4f} | 0 |")
    print(f"| {best.candidate.name} | {best.size_bytes:,} | {best.compressed_bytes:,} | {best.latency_ms:.4f} | see verdict.json |")
    print(f"\n{packed / best.compressed_bytes:.0f}x smaller than the .h5, both compressed; {best.against_baseline}; {seconds:.0f} s")


if __name__ == "__main__":
    main()
