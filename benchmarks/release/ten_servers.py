"""How long until every one of ten servers on one registry answers with a version that was promoted, and with the one before again.

    python benchmarks/release/ten_servers.py [--servers 10] [--rounds 10] [--bound-s 5] [--json]

Each round registers a new version, promotes it as `fairlead promote` does (every server loads and warms it, then the alias moves), and asks
every server over HTTP until it answers with it. It fails if a server takes longer than the bound from the beginning of the promotion, or if
one answers with another version after the promotion has returned. Every second round ends with a rollback, which is examined likewise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "reliability"))

from rollback_time import wait_for
from serving_house import NAME, ServerProcess, make_home, served, write_multiplier

import fairlead
from fairlead.app.release import promote, rollback
from fairlead.app.wiring import build_house

_STAGING = "next"


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bound-s", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wrong: list[str] = []
    times: dict[str, list[float]] = {"promote_s": [], "everywhere_s": [], "rollback_s": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = make_home(Path(folder), 1)
        house = build_house(home)
        servers = [stack.enter_context(served(home)) for _ in range(options.servers)]
        wait_for(house, options.servers)
        for number in range(2, options.rounds + 2):
            version = fairlead.deploy(
                write_multiplier(Path(folder) / f"{number}.onnx", number), name=NAME, home=home, alias=_STAGING
            ).version
            began = time.monotonic()
            outcome = promote(version.label, house)
            times["promote_s"].append(time.monotonic() - began)
            wrong += [f"{beat.label} had not followed version {version.number}" for beat in outcome.followed.behind]
            wrong += [f"a server answered with version {found}, not {version.number}" for found in ask(servers) if found != version.number]
            times["everywhere_s"].append(time.monotonic() - began)
            if times["everywhere_s"][-1] > options.bound_s:
                wrong.append(
                    f"version {version.number} was everywhere after {times['everywhere_s'][-1]:.2f} s, the bound is {options.bound_s} s"
                )
            if number % 2:
                began = time.monotonic()
                back = rollback(NAME, house)
                times["rollback_s"].append(time.monotonic() - began)
                wrong += [f"a server answered with version {found} after a rollback" for found in ask(servers) if found != back.number]
                promote(version.label, house)
    found = {"servers": options.servers, "cores": os.cpu_count(), "rounds": options.rounds}
    found |= {key: summary(values) for key, values in times.items()} | {"wrong": wrong[:10]}
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    return int(bool(wrong))


def ask(servers: Sequence[ServerProcess]) -> list[int]:
    """Return the version with which each server answers now."""
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [3.0, 1.0]}]}
    return [int(server.ask("POST", f"/v2/models/{NAME}/infer", body)[1]["model_version"]) for server in servers]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the largest."""
    ordered = sorted(values) or [0.0]
    return {"median": round(ordered[len(ordered) // 2], 3), "largest": round(ordered[-1], 3)}


if __name__ == "__main__":
    sys.exit(main())
