"""Switch and roll back versions under load: nothing is lost, every answer is its version's, and a promotion holds within its bound.

    python benchmarks/reliability/switches.py [--requests 20000] [--switches 20] [--interval-s 2] [--json]

Four clients over REST and four over gRPC ask without a pause while the alias moves between three versions, every other time by a rollback.
A move is what the commands `promote` and `rollback` do: it returns when the server has followed. It fails if a request is lost, answered
wrongly or with an error, or if one that started more than --bound-s after a move had returned was answered by the version before. Positive
control: the same examination of a copy of the record, with one answer made wrong, has to fail.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving_house import NAME, Client, GrpcClient, RestClient, answered, make_home, served

from fairlead.app.release import promote, rollback
from fairlead.app.wiring import build_house

VERSION_COUNT = 3


@dataclass(frozen=True)
class Switch:
    """A move of the alias: what answers from then on, and when the call began and returned (monotonic seconds)."""

    version: int
    began: float
    returned: float
    is_rollback: bool


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000, help="answers at least")
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--interval-s", type=float, default=2.0, help="time between moves")
    parser.add_argument("--bound-s", type=float, default=0.0, help="the version before may answer requests that started so long after")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder), VERSION_COUNT)
        with served(home) as server:
            before = server.leavings()
            until = threading.Event()
            clients: list[Client] = [RestClient(server, until) for _ in range(4)] + [GrpcClient(server, until) for _ in range(4)]
            for client in clients:
                client.start()
            switches = move(home, options, clients)
            until.set()
            for client in clients:
                client.join()
            after = server.leavings()
    found = examine(clients, switches, options.bound_s)
    found |= {"leavings": {"before": before, "after": after}, "control": control(clients, switches, options.bound_s)}
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    return int(bool(found["wrong"]) or not found["control"])


def move(home: Path, options: argparse.Namespace, clients: Sequence[Client]) -> list[Switch]:
    """Move the alias as often as asked, and until there were as many answers as asked."""
    house = build_house(home)
    switches = [Switch(VERSION_COUNT, 0.0, time.monotonic(), is_rollback=False)]
    time.sleep(options.interval_s)
    while len(switches) <= options.switches or answered(clients) < options.requests:
        is_rollback = len(switches) % 2 == 0
        number = (switches[-1].version + len(switches) % 4 // 3) % VERSION_COUNT + 1  # the next one, or the one after it
        began = time.monotonic()
        moved = rollback(NAME, house) if is_rollback else promote(f"{NAME}:{number}", house)
        switches.append(Switch(moved.number, began, time.monotonic(), is_rollback))
        time.sleep(options.interval_s)
    return switches


def examine(clients: Sequence[Client], switches: Sequence[Switch], bound_s: float) -> dict[str, object]:
    """Return counts and times, and under `wrong` everything that must not be."""
    wrong = [problem for client in clients for problem in client.problems]
    lags: dict[bool, list[float]] = {False: [], True: []}
    for place, switch in enumerate(switches[1:], 1):
        end = switches[place + 1].began if place + 1 < len(switches) else float("inf")
        late = [
            (started - switch.returned, version)
            for client in clients
            for started, version in zip(client.started, client.versions, strict=True)
            if switch.returned <= started < end and version != switch.version
        ]
        lag_s = max((lag for lag, _ in late), default=0.0)
        lags[switch.is_rollback].append(lag_s)
        if lag_s > bound_s:
            wrong.append(f"{lag_s:.3f} s after the switch to {switch.version} a new request got version {max(late)[1]}")
    return {
        "answers": answered(clients),
        "switches": len(switches) - 1,
        "versions": sorted({version for client in clients for version in client.versions}),
        "promote_took_s": _times([switch.returned - switch.began for switch in switches[1:] if not switch.is_rollback]),
        "rollback_took_s": _times([switch.returned - switch.began for switch in switches[1:] if switch.is_rollback]),
        "late_after_promote_s": _times(lags[False]),
        "late_after_rollback_s": _times(lags[True]),
        "wrong": wrong[:10],
    }


def _times(lags: Sequence[float]) -> dict[str, float]:
    ordered = sorted(lags) or [0.0]
    return {
        "median": round(statistics.median(ordered), 3),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 3),
        "largest": round(ordered[-1], 3),
    }


def control(clients: Sequence[Client], switches: Sequence[Switch], bound_s: float) -> bool:
    """Whether one answer of a wrong version at the end is noticed; the record is changed by this."""
    client = next(client for client in clients if client.versions)
    client.started.append(time.monotonic() + bound_s + 1e-3)
    client.versions.append(switches[-1].version % VERSION_COUNT + 1)
    return bool(examine(clients, switches, bound_s)["wrong"])


if __name__ == "__main__":
    sys.exit(main())
