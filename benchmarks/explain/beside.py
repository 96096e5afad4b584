"""What explanations cost the predictions of the same server: the latency of a steady stream of predictions, alone and while one explanation
after another is asked for.

    python benchmarks/explain/beside.py [--write docs/reference/explaining.md] [--rate 200] [--seconds 10]

Two models of scikit-learn's digits: XGBoost (explained exactly, from its trees) and a network of 64 and 32 (explained by asking it). Each
is deployed into a folder of its own and served; `fairlead bench` sends single rows at a steady rate. In turns, the median of the rounds.
With --write, puts the table between the marks `<!-- beside -->`. Needs xgboost, scikit-learn. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

sys.path.append(str(Path(__file__).resolve().parents[1] / "optimize"))

from results import publish

ROWS = 8  # of an explanation
FAIRLEAD = (sys.executable, "-m", "fairlead")


def make_models(folder: Path) -> dict[str, Path]:
    """Train and save the models, and the rows that they are proven with."""
    import joblib
    import xgboost
    from sklearn.neural_network import MLPClassifier

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    rows, labels = digits.data[order].astype(np.float32), digits.target[order]
    np.savez(folder / "rows.npz", x=rows[1000:], y=labels[1000:])
    trees = xgboost.XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1).fit(rows[:1000], labels[:1000])
    trees.save_model(folder / "trees.ubj")
    network = MLPClassifier((64, 32), max_iter=200, random_state=0).fit(rows[:1000], labels[:1000])
    joblib.dump(network, folder / "network.joblib")
    return {"trees": folder / "trees.ubj", "network": folder / "network.joblib"}


def deploy_models(folder: Path) -> Path:
    """Deploy both; return the registry's folder."""
    for name, path in make_models(folder).items():
        deploy = [*FAIRLEAD, "deploy", str(path), "--name", name, "--data", str(folder / "rows.npz"), "--home", str(folder / "home")]
        subprocess.run(deploy, check=True, capture_output=True)
    return folder / "home"


@contextlib.contextmanager
def serving(home: Path, name: str) -> Iterator[int]:
    """Serve one model; yield the port."""
    command = [*FAIRLEAD, "serve", name, "--home", str(home), "--port", "0", "--grpc-port", "none"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
        wait_until_ready(int(found[1]), name)
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(port: int, name: str) -> None:
    """Ask until the model is ready."""
    for _ in range(300):
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", f"/v2/models/{name}/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the model is not ready")


@contextlib.contextmanager
def explaining(port: int, name: str, *, is_on: bool) -> Iterator[dict[int, int]]:
    """Ask for explanations, one after the other, while the context lasts; yield how many had which status."""
    seen: dict[int, int] = {}
    ended = threading.Event()
    body = json.dumps({"input": load_digits().data[:ROWS].tolist(), "budget_s": 2}).encode()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not ended.is_set():
            connection.request("POST", f"/v2/models/{name}/explain", body, {"content-type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            seen[reply.status] = seen.get(reply.status, 0) + 1
        connection.close()

    thread = threading.Thread(target=ask)
    if is_on:
        thread.start()
        while not seen:  # the first one starts what explains
            if not thread.is_alive():
                raise SystemExit("the server does not answer explanations")
            time.sleep(0.05)
        seen.clear()
    try:
        yield seen
    finally:
        ended.set()
        if is_on:
            thread.join()


def load(port: int, name: str, rate: float, seconds: float) -> dict[str, Any]:
    """Return what `fairlead bench` says."""
    target = f"http://127.0.0.1:{port}"
    command = [*FAIRLEAD, "bench", target, "--model", name, "--rate", str(rate), "--duration", str(seconds), "--arrivals", "constant"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(home: Path, name: str, rate: float, seconds: float, rounds: int) -> list[str]:
    """Return the table's lines of one model."""
    kept: dict[bool, list[tuple[float, float, float, float]]] = {False: [], True: []}
    with serving(home, name) as port:
        for _ in range(rounds):
            for is_on in (False, True):
                with explaining(port, name, is_on=is_on) as seen:
                    found = load(port, name, rate, seconds)
                    count = seen.get(200, 0)
                if is_on and not count:
                    raise SystemExit(f"no row was explained beside the predictions; answers by status: {seen}")
                result = found["result"]
                p50, p99 = (result["percentiles_ms"][name_of] for name_of in ("p50", "p99"))
                print(name, is_on, f"{p50:.2f} {p99:.2f} {result['largest_ms']:.1f}", seen, file=sys.stderr)
                kept[is_on].append((p50, p99, result["largest_ms"], count * ROWS / seconds))
    lines = []
    for is_on, numbers in kept.items():
        p50, p99, worst, explained = (statistics.median(column) for column in zip(*numbers, strict=True))
        beside = f"{explained:.0f} rows explained a second" if is_on else "nothing"
        lines.append(f"| {name} | {beside} | {p50:.2f} | {p99:.2f} | {worst:.1f} |")
    return lines


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    parser.add_argument("--home", type=Path, help="a registry that has both models already")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    lines = ["| model | beside the predictions | p50, ms | p99, ms | longest, ms |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        home = arguments.home or deploy_models(Path(scratch))
        for name in ("trees", "network"):
            lines += measure(home, name, arguments.rate, arguments.seconds, arguments.rounds)
    cores = os.cpu_count()
    said = f"{arguments.rate:.0f} single rows a second, {ROWS} rows in each explanation, {cores} cores"
    text = "\n".join([*lines, "", f"{said}; the median of {arguments.rounds} rounds of {arguments.seconds:g} s."])
    publish("beside", text, arguments.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
