"""Roll back under load, again and again: how long the command takes, and how long anybody still met what was taken back.

    python benchmarks/release/rollback_time.py [--rounds 200] [--servers 2] [--clients 4] [--bound-s 1.0] [--json]

Each round promotes version 2 (both are warm after the first round) and takes it back. Clients ask all servers without a pause. It fails if
the p99 of a rollback is above the bound, a request is lost or answered wrongly, or one that started after the rollback had returned was
answered by the version that was taken back. Positive control: the same examination of a copy of the record with one such answer fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "reliability"))

from serving_house import NAME, RestClient, answered, make_home, served

from fairlead.app.release import promote, rollback
from fairlead.app.servers import Roll
from fairlead.app.wiring import build_house


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--bound-s", type=float, default=1.0, help="p99 of a rollback, from the call to its return")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = make_home(Path(folder), 2)
        house = build_house(home)
        rollback(NAME, house)
        servers = [stack.enter_context(served(home)) for _ in range(options.servers)]
        wait_for(house, options.servers)
        until = threading.Event()
        clients = [RestClient(servers[place % len(servers)], until) for place in range(options.clients)]
        for client in clients:
            client.start()
        rounds = []
        for _ in range(options.rounds):
            promoted = promote(f"{NAME}:2", house)
            time.sleep(0.05)
            began = time.monotonic()
            taken = rollback(NAME, house)
            rounds.append((began, time.monotonic(), len(promoted.followed.behind) + len(taken.followed.behind)))
            time.sleep(0.05)
        until.set()
        for client in clients:
            client.join()
    found = examine(clients, rounds, options.bound_s)
    control = examine(clients, rounds, options.bound_s, planted=(rounds[0][1] + 1e-6, 2))
    found["control"] = bool(control["wrong"])
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    return int(bool(found["wrong"]) or not found["control"])


def wait_for(house, count: int) -> None:
    """Return when that many servers say that they live."""
    roll, until = Roll(house.records, house.clock), time.monotonic() + 60
    while len(roll.call()) < count:
        if time.monotonic() > until:
            raise SystemExit("the servers do not say that they live")
        time.sleep(0.05)


def examine(clients, rounds, bound_s: float, *, planted: tuple[float, int] | None = None) -> dict[str, object]:
    """Return times and counts, and under `wrong` what must not be."""
    wrong = [problem for client in clients for problem in client.problems]
    record = sorted((at, version) for client in clients for at, version in zip(client.started, client.versions, strict=True))
    if planted is not None:
        record.append(planted)
    late = 0
    for place, (_, returned, behind) in enumerate(rounds):
        end = rounds[place + 1][0] - 0.1 if place + 1 < len(rounds) else returned + 0.05
        end = min(end, returned + 0.05)  # the next promotion begins then
        late += sum(1 for at, version in record if returned <= at < end and version == 2)
        if behind:
            wrong.append(f"round {place}: {behind} servers had not followed when the call returned")
    if late:
        wrong.append(f"{late} requests that started after a rollback had returned were answered by the version that was taken back")
    took = sorted(returned - began for began, returned, _ in rounds)
    p99_s = took[min(len(took) - 1, int(len(took) * 0.99))]
    if p99_s > bound_s:
        wrong.append(f"p99 of a rollback is {p99_s:.3f} s, the bound {bound_s} s")
    times = {"median_ms": _ms(took[len(took) // 2]), "p99_ms": _ms(p99_s), "largest_ms": _ms(took[-1])}
    return {"rollbacks": len(took), **times, "answers": answered(clients), "late_answers": late, "wrong": wrong[:10]}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    sys.exit(main())
