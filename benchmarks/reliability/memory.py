"""Load and unload a model over and over: the memory comes back, and nothing grows.

    python benchmarks/reliability/memory.py [--cycles 500] [--megabytes 20] [--slope-kib 1] [--plant-kib 0] [--json]

The server's resident memory is read after each unload. Over the second half of the cycles it may not rise by more than 1 MiB in 1,000
cycles beyond what chance explains (--slope-kib 1; the allocators' pools fill during the first hundred, by 5 KiB a cycle), nor by 20 MiB in
all; and with the model unloaded it has to be within a tenth of the model's size, or 8 MiB, of where it began. Positive control:
`--plant-kib 64` keeps that much of every load, which has to be found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from serving_house import NAME, ServerProcess, make_home, served

TOTAL_LIMIT_BYTES = 20 * 2**20
_TRIM_S = 0.2  # memory is given back a moment after it was freed
_PLANT = """
import os, fairlead.serve.loading as loading
kept, plain = [], loading.Loader._open
def leaking(self, *arguments):
    kept.append(bytearray(os.urandom(1024)) * int(os.environ["PLANTED_KIB"]))
    return plain(self, *arguments)
loading.Loader._open = leaking
"""


def main() -> int:
    """Print what was found; return 1 where memory grows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--megabytes", type=float, default=20.0, help="size of the model")
    parser.add_argument("--slope-kib", type=float, default=1.0, help="what it may grow by in a cycle")
    parser.add_argument("--plant-kib", type=int, default=0, help="what each load leaks, to see that it is found")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder), 1, weight_bytes=int(options.megabytes * 1e6))
        environment = {"FAIRLEAD_KEEP_WARM_S": "0"}
        if options.plant_kib:
            (Path(folder) / "sitecustomize.py").write_text(_PLANT)
            environment |= {"PYTHONPATH": folder, "PLANTED_KIB": str(options.plant_kib)}
        with served(home, "--allow-model-control", environment=environment) as server:
            loaded, unloaded = cycle(server, options.cycles)
    found = judge(loaded, unloaded, options.megabytes * 1e6, options.slope_kib)
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    return int(bool(found["wrong"]))


def cycle(server: ServerProcess, count: int) -> tuple[list[int], list[int]]:
    """Return the resident bytes with the model loaded and with it unloaded, after each cycle."""
    loaded, unloaded = [], []
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
    for _ in range(count):
        server.ask("POST", f"/v2/repository/models/{NAME}/unload")
        time.sleep(_TRIM_S)
        unloaded.append(server.resident_bytes())
        status, answer = server.ask("POST", f"/v2/repository/models/{NAME}/load")
        if status != 200 or server.ask("POST", f"/v2/models/{NAME}/infer", body)[0] != 200:
            raise SystemExit(f"the model cannot be loaded again: {answer}")
        loaded.append(server.resident_bytes())
    return loaded, unloaded


def judge(loaded: list[int], unloaded: list[int], model_bytes: float, slope_kib: float) -> dict[str, object]:
    """Return the figures, and under `wrong` which bounds they break."""
    half = np.array(unloaded[len(unloaded) // 2 :], np.float64)
    slope, error = line(half)
    settled = np.array(unloaded[min(5, len(unloaded) - 1) :], np.float64)
    rise = float(np.median(settled[-5:]) - np.median(settled[:5]))
    freed = float(np.median(loaded[-5:]) - np.median(unloaded[-5:]))
    wrong = []
    if slope - 3 * error > slope_kib * 1024:
        wrong.append(f"it grows by {slope / 1024:.2f} KiB a cycle")
    if rise > TOTAL_LIMIT_BYTES:
        wrong.append(f"it grew by {rise / 2**20:.1f} MiB")
    if freed < 0.9 * model_bytes - 8 * 2**20:
        wrong.append(f"unloading {model_bytes / 1e6:.1f} MB gave {freed / 1e6:.1f} MB back")
    return {
        "cycles": len(unloaded),
        "unloaded_mb": round(float(np.median(settled)) / 1e6, 2),
        "loaded_mb": round(float(np.median(loaded)) / 1e6, 2),
        "given_back_mb": round(freed / 1e6, 2),
        "slope_kib_per_cycle": round(slope / 1024, 3),
        "slope_error_kib": round(error / 1024, 3),
        "rise_mib": round(rise / 2**20, 2),
        "wrong": wrong,
    }


def line(values: np.ndarray) -> tuple[float, float]:
    """Return slope and its standard error by least squares over the index."""
    if len(values) < 3:
        return 0.0, 0.0
    places = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(places @ values / (places @ places))
    rest = values - values.mean() - slope * places
    return slope, float(np.sqrt(rest @ rest / (len(values) - 2) / (places @ places)))


if __name__ == "__main__":
    sys.exit(main())
