"""Load and unload models from many clients at once: the last acknowledged operation is the one that holds, and nothing is left over.

    python benchmarks/reliability/storm.py [--threads 8] [--operations 64] [--json]

Each thread loads and unloads a model of its own and one that all share, at random (seeded). In the end each own model has to be as its
thread was told last, the shared one as whoever was answered last was told; the server has to be live and ready for what is loaded, with the
descriptors, threads and children that it began with, and no unfinished folder. Positive control: the same look at the end has to fail if
what one thread was told is turned round.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from serving_house import ServerProcess, make_home, served, write_multiplier

import fairlead

SHARED = "shared"
_SETTLE_S = 10.0


class Operator(threading.Thread):
    """Loads and unloads; `told` is the last acknowledged operation on its own model."""

    def __init__(self, server: ServerProcess, name: str, count: int, seed: int, log: list[tuple[float, float, bool]]) -> None:
        super().__init__(daemon=True)
        self.server, self.name_, self.count, self.random, self.log = server, name, count, random.Random(seed), log
        self.told = True
        self.problems: list[str] = []

    def run(self) -> None:
        """Do every operation."""
        for _ in range(self.count):
            is_load, is_shared = self.random.random() < 0.5, self.random.random() < 0.25
            name, verb = SHARED if is_shared else self.name_, "load" if is_load else "unload"
            began = time.monotonic()
            status, answer = self.server.ask("POST", f"/v2/repository/models/{name}/{verb}")
            if status != 200:
                self.problems.append(f"{verb} {name}: {status} {answer}")
            elif is_shared:
                self.log.append((began, time.monotonic(), is_load))
            else:
                self.told = is_load


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--operations", type=int, default=64, help="per thread")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = [f"own-{place}" for place in range(options.threads)]
        home = make_home(Path(folder), 1, name=SHARED)
        for place, name in enumerate(names):
            fairlead.deploy(write_multiplier(Path(folder) / f"{name}.onnx", place + 2.0), name=name, home=home)
        with served(home, "--allow-model-control", environment={"FAIRLEAD_KEEP_WARM_S": "0"}) as server:
            before = server.leavings()
            log: list[tuple[float, float, bool]] = []
            operators = [Operator(server, name, options.operations, place, log) for place, name in enumerate(names)]
            began = time.monotonic()
            for operator in operators:
                operator.start()
            for operator in operators:
                operator.join()
            took_s = time.monotonic() - began
            wrong = [problem for operator in operators for problem in operator.problems] + look(server, operators, log)
            operators[0].told = not operators[0].told
            control = bool(look(server, operators, log))
            after = settled(server, before)
        left = sorted(path.name for path in (home / "loaded").iterdir() if path.name.startswith("."))
    if any(after[kind] > before[kind] for kind in before):
        wrong.append(f"left over: {before} became {after}")
    wrong += [f"unfinished: {name}" for name in left]
    count = options.threads * options.operations
    found = {"operations": count, "per_s": round(count / took_s), "before": before, "after": after, "control": control, "wrong": wrong[:10]}
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    return int(bool(wrong) or not control)


def look(server: ServerProcess, operators: list[Operator], log: list[tuple[float, float, bool]]) -> list[str]:
    """Return where the server is not what it said last."""
    _, index = server.ask("POST", "/v2/repository/index")
    states = {item["name"]: item["state"] for item in index}
    wrong = []
    for operator in operators:
        is_ready = server.ask("GET", f"/v2/models/{operator.name_}/ready")[0] == 200
        if len({is_ready, operator.told, states[operator.name_] == "READY"}) > 1:
            wrong.append(f"{operator.name_} was told load={operator.told}, is {states[operator.name_]}, ready={is_ready}")
    last_began = max((began for began, _, _ in log), default=0.0)
    possible = {is_load for _, ended, is_load in log if ended >= last_began} or {True}  # those that overlap may be in either order
    if (states[SHARED] == "READY") not in possible:
        wrong.append(f"{SHARED} is {states[SHARED]}")
    silent = [path for path in ("live", "ready") if server.ask("GET", f"/v2/health/{path}")[0] != 200]
    return wrong + [f"the server is not {path}" for path in silent]


def settled(server: ServerProcess, before: dict[str, int]) -> dict[str, int]:
    """Return what is left once that is no more than before, or after a while."""
    until = time.monotonic() + _SETTLE_S
    while True:
        after = server.leavings()
        if all(after[kind] <= before[kind] for kind in before) or time.monotonic() > until:
            return after
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
