"""What keeping every request costs a server: requests per second, latencies and processor time with the observation log and without it.

    python benchmarks/observing_log.py [--rounds 7] [--seconds 3] [--connections 1 64]

One `fairlead serve` of the `tabular` model of serving.py on core 0; wrk on core 1 asks it in turns while nothing is kept, everything, and
nothing again: `fairlead observe` turns it on and off in the running server, since two processes of the same program differ by more than is
looked for. JSON requests of one row. Prints medians of the rounds; the median of the rounds' ratios of kept to not kept with their
quartiles; the same of the two that keep nothing, which is the noise; and what became of the requests as the server counted it. Stops unless
everything was written.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from fairlead.app.observing_rules import ObservingChange, change_observing
from fairlead.app.wiring import build_house
from serving import CLIENT_CORE, PATH, cpu_s, make_models, running

_PORT = 9111
_TURNS = {"not kept": False, "kept": True, "not kept, again": False}
_FOLLOWED_S = 3.5  # by then a running server does what was said
_LUA = """
local f = io.open(os.getenv("BODY"), "rb"); wrk.body = f:read("*a"); f:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %f %f %f %d\\n", summary.requests / (summary.duration / 1e6), latency:percentile(50.0),
    latency:percentile(99.0), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def ask(pid: int, port: int, body: Path, connections: int, seconds: float) -> tuple[float, ...]:
    """Return requests per second, median and 99th percentile in microseconds, and processor microseconds per request."""
    script = body.with_suffix(".lua")
    script.write_text(_LUA)
    command = ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
    before = cpu_s(pid)
    run = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True, env=os.environ | {"BODY": str(body)}
    )
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", run.stdout)
    if found is None or found[4] != "0":
        raise SystemExit(f"wrk said:\n{run.stdout}")
    rate = float(found[1])
    return rate, float(found[2]), float(found[3]), (cpu_s(pid) - before) / (rate * seconds) * 1e6


def became(port: int) -> dict[str, int]:
    """Return what the server says became of the requests."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        page = reply.read().decode()
    return {name: int(count) for name, count in re.findall(r'fairlead_observations_total\{.*result="(\w+)"\} (\d+)', page)}


def switch(home: Path, *, is_on: bool) -> None:
    """Have the running server keep every request, or none."""
    change_observing("m", ObservingChange(is_on=is_on), build_house(home))
    time.sleep(_FOLLOWED_S)


def all_written(port: int) -> dict[str, int]:
    """Return what became of the requests, once nothing waits to be written."""
    until = time.monotonic() + 60
    while (counts := became(port))["written"] < counts["observed"] - counts["unsampled"] - counts["dropped"] - counts["failed"]:
        if time.monotonic() > until:
            raise SystemExit(f"Not all was written within a minute: {counts}.")
        time.sleep(0.5)
    return counts


def ratios(ones: list[tuple[float, ...]], others: list[tuple[float, ...]]) -> list[str]:
    """Return the median of the rounds' ratios and their quartiles, of each figure."""
    found = []
    for one, other in zip(zip(*ones, strict=True), zip(*others, strict=True), strict=True):
        low, middle, high = statistics.quantiles([first / second for first, second in zip(one, other, strict=True)], n=4)
        found.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--home", type=Path, help="A home that a run before has deployed the model into.")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed: a client that is slower than the server would hide what is measured.")
    with tempfile.TemporaryDirectory() as folder:
        model, body = make_models(Path(folder))["tabular"]
        home = arguments.home or Path(folder) / "home"
        fairlead = [sys.executable, "-m", "fairlead"]
        if not (home / "registry.sqlite").exists():
            subprocess.run([*fairlead, "deploy", str(model), "--name", "m", "--home", str(home)], check=True)
        with running([*fairlead, "serve", "m", "--home", str(home), "--port", str(_PORT), "--observe"], {}, _PORT, body) as pid:
            switch(home, is_on=True)
            print("| connections | | requests/s | median, us | p99, us | processor time, us |\n|---|---|---|---|---|---|")
            for connections in arguments.connections:
                ask(pid, _PORT, body, connections, arguments.seconds)  # warms, up to the first file
                all_written(_PORT)
                rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in _TURNS}
                for _ in range(arguments.rounds):
                    for name, is_on in _TURNS.items():
                        switch(home, is_on=is_on)
                        rounds[name].append(ask(pid, _PORT, body, connections, arguments.seconds))
                medians = {name: [statistics.median(values) for values in zip(*found, strict=True)] for name, found in rounds.items()}
                for name, values in medians.items():
                    print(f"| {connections} | {name} | {' | '.join(f'{value:,.0f}' for value in values)} |")
                for name in ("kept", "not kept, again"):
                    print(f"| {connections} | {name} / not kept | {' | '.join(ratios(rounds[name], rounds['not kept']))} |", flush=True)
            counts = all_written(_PORT)
            print(f"\nWhat became of the requests: {', '.join(f'{name} {count:,}' for name, count in counts.items())}.")
            if counts.get("dropped") or counts.get("failed"):
                raise SystemExit("Not every request was kept: the figures are too good.")


if __name__ == "__main__":
    main()
