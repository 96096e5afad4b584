"""How far the capacity that Fairlead computes is from what a simulation and the real server keep.

    python benchmarks/capacity.py measure --models tabular cnn heavy --rounds 5 --out runs.json    (repeat: rounds are added)
    python benchmarks/capacity.py table runs.json

Server (`fairlead serve`, everything switched on) on core 0, client on core 1. Each round measures everything anew: the engine's calls,
light loads for what the server costs (requests one by one, and sixteen at once), and then Poisson arrivals at rates around the one that is
expected. A rate keeps the promise where at most 1 % of the answers are late or fail in the middle one of its trials: one bad second may
be another program's doing. What is computed is the middle one over the light loads, too: a virtual machine has faster and slower seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.app.registry_source import RegistrySource
from fairlead.app.wiring import build_house
from fairlead.core.capacity import Demand, ServerCosts, ServerShape
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint
from fairlead.engines.latency_profile import ProfileJob, measure_profile
from fairlead.plan.capacity import ReplicaModel, max_rate
from fairlead.plan.queueing import Steady
from fairlead.plan.server_costs import ObservedLoad, fit_costs
from fairlead.plan.simulation import simulate
from fairlead.probe.http_client import HttpClient
from fairlead.probe.load.histogram import Histogram
from fairlead.probe.load.job import LoadJob, Tally
from fairlead.probe.load.prepare import Place, first_answers, make_request
from fairlead.probe.load.schedule import Arrivals
from fairlead.probe.load.work import drive
from fairlead.probe.model_facts import describe_model
from fairlead.probe.tensors import valid_inputs
from serving import CLIENT_CORE, SERVER_CORE, cpu_s, make_models

PROMISES_MS = {"tabular": 5.0, "cnn": 10.0, "heavy": 50.0}
SHARES = (0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.45)  # of the rate that the first round lets expect
LATE = 0.01
# Loads that tell the server's costs, as a share of what a closed loop gets. The heaviest is there because a request costs more where many
# wait: what they hold pushes the engine's and each other's data out of the caches.
LIGHT_LOADS = ((Arrivals.POISSON, 0.1), (Arrivals.BURSTS, 0.2), (Arrivals.POISSON, 0.3), (Arrivals.BURSTS, 0.3), (Arrivals.BURSTS, 0.7))
_LIGHT_S = {"tabular": 0.8, "cnn": 0.8, "heavy": 3.0}
_TRIAL_S = {"tabular": 1.0, "cnn": 1.0, "heavy": 2.5}
_PROFILE_S = 1.0


def heavy_model(path: Path) -> None:
    """Write two convolutions of 32 x 32 x 3 pixels that take some 5 ms on one core."""
    random = np.random.default_rng(0)
    shapes = {"a": (160, 3, 3, 3), "ab": (160,), "b": (160, 160, 3, 3), "bb": (160,), "w": (160, 10), "wb": (10,)}
    weights = [numpy_helper.from_array((random.standard_normal(shape) * 0.05).astype(np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "a", "ab"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "b", "bb"], ["c2"], pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "wb"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"]),
    ]
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "heavy", [takes], [gives], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def deploy(name: str, home: Path) -> None:
    """Register the model in `home` unless it is there."""
    if (home / f"{name}.done").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name}.onnx"
    if name == "heavy":
        heavy_model(path)
    else:
        make_models(home)
    model = onnx.load(path)
    shape = [dim.dim_value or 64 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    np.savez(home / f"{name}.npz", **{model.graph.input[0].name: np.random.default_rng(0).random(shape).astype(np.float32)})
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "deploy",
        str(path),
        "--data",
        str(home / f"{name}.npz"),
        "--name",
        name,
        "--home",
        str(home),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (home / f"{name}.done").touch()


@contextlib.contextmanager
def serving(name: str, home: Path) -> Iterator[tuple[int, str]]:
    """Run `fairlead serve` on its core until it is ready; give its process id and URL."""
    command = [sys.executable, "-m", "fairlead", "serve", name, "--port", "0", "--grpc-port", "none", "--home", str(home)]
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *command], stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}
    )
    try:
        url = next((found[0] for line in process.stderr or () if (found := re.search(r"http://127\.0\.0\.1:\d+", line))), "")
        if not url:
            raise SystemExit(f"The server for {name} does not start.")
        threading.Thread(target=lambda: list(process.stderr or ()), daemon=True).start()
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/v2/health/ready") as reply:  # noqa: S310 - its own loopback URL
                if reply.status == 200:
                    break
            time.sleep(0.1)
        yield process.pid, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Bench:
    """One model on one server."""

    def __init__(self, name: str, home: Path, pid: int, url: str) -> None:
        self.name, self.pid = name, pid
        client = HttpClient(url)
        model = describe_model(client, name)
        place = Place(client.host, client.port, client.is_secure, "http", "json")
        requests = tuple(
            make_request(model, valid_inputs(model.inputs, rows=1, seed=seed, free_size=1), client, place) for seed in range(16)
        )
        answers = first_answers(place, requests)
        self.load = LoadJob(
            host=place.host,
            port=place.port,
            is_secure=False,
            protocol="http",
            requests=requests,
            answers=tuple((head, body) for _, head, body in answers),
            concurrency=256,
            warm_up_s=0.3,
            duration_s=_TRIAL_S[name],
            timeout_s=5.0,
        )
        self.client, self.path = client, model.path
        house = build_house(home)
        self.loaded = RegistrySource(house, [name]).load(house.records.version(name, 1))

    def profile(self) -> LatencyProfile:
        """Measure the engine's calls on the server's core, while the server has nothing to do."""
        os.sched_setaffinity(0, {SERVER_CORE})
        try:
            return measure_profile(ProfileJob(_lend(self.loaded.engine), self.loaded.golden.inputs, time_s=_PROFILE_S))
        finally:
            os.sched_setaffinity(0, {CLIENT_CORE})

    def peak(self) -> float:
        """Return what a closed loop gets at most, requests per second."""
        tally = drive(replace(self.load, concurrency=32, duration_s=1.0), process_count=1, progress=lambda *_: None)
        return tally.right_count / tally.measured_s

    def light(self, rate: float, arrivals: Arrivals, seed: int) -> ObservedLoad:
        """Put the server under a load that it carries easily, and count."""
        load = replace(self.load, rate=rate, arrivals=arrivals, warm_up_s=0.0, duration_s=_LIGHT_S[self.name], seed=seed)
        before = (*self._counts(), cpu_s(self.pid))
        tally = drive(load, process_count=1, progress=lambda *_: None)
        after = (*self._counts(), cpu_s(self.pid))
        requests, calls, seconds = (late - early for late, early in zip(after, before, strict=True))
        return ObservedLoad(int(requests), int(calls), seconds, tally.times.percentile_s(50) * 1e3)

    def open(self, rate: float, seed: int) -> Tally:
        """Put the server under Poisson arrivals."""
        return drive(replace(self.load, rate=rate, seed=seed), process_count=1, progress=lambda *_: None)

    def _counts(self) -> tuple[int, int]:
        (entry,) = self.client.get(f"{self.path}/stats").content["model_stats"]
        return int(entry["inference_count"]), int(entry["execution_count"])


def _lend(engine):
    class Lent:
        interface, description, run = engine.interface, engine.description, engine.run

        def close(self) -> None:
            pass

    return lambda _threads: Lent()


def measure(names: list[str], rounds: int, home: Path, out: Path, budget_s: float) -> None:
    """Add rounds to the file."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    runs = json.loads(out.read_text()) if out.exists() else []
    for name in names:
        deploy(name, home)
    until = time.monotonic() + budget_s
    for name in names:
        with serving(name, home) as (pid, url):
            bench = Bench(name, home, pid, url)
            peak = next((run["peak"] for run in runs if run["model"] == name), None) or bench.peak()
            for number in range(rounds):
                if time.monotonic() > until:
                    break
                run = one_round(bench, peak, [run for run in runs if run["model"] == name], number)
                runs.append(run)
                out.write_text(json.dumps(runs))
                print(
                    name, f"{run['costs']['request_ms'] * 1e3:.0f} us a request, {run['costs']['round_ms'] * 1e3:.0f} us a round;", end=" "
                )
                print(
                    *(f"{t['rate']:,.0f}: {Histogram.from_plain(t['times']).percentile_s(99) * 1e3:.1f}" for t in run["trials"]), flush=True
                )


def one_round(bench: Bench, peak: float, before: list[dict], number: int) -> dict:
    """Measure everything once; the rates stay those of the first round of a model, so that answers can be pooled."""
    profile = bench.profile()
    loads = [bench.light(peak * share, arrivals, seed=number) for arrivals, share in LIGHT_LOADS]
    costs = fit_costs(loads, profile)
    if before:
        rates = [trial["rate"] for trial in before[0]["trials"]]
    else:
        promise_ms = PROMISES_MS[bench.name]
        expected = max_rate(ReplicaModel(profile, costs, ServerShape()), Demand(1.0, promise_ms))
        if expected is None:
            raise SystemExit(
                f"No rate of {bench.name} is expected to keep {promise_ms:g} ms here: a call takes {profile.mean_ms(1, 1):.1f} ms, and a "
                f"request on its way {costs.path_ms:.1f} ms. Run it on an idle machine, or allow more in PROMISES_MS."
            )
        rates = [round(expected.rate_rps * share, 1 - int(math.log10(expected.rate_rps))) for share in SHARES]
    trials = []
    order = sorted(range(len(rates)), key=lambda place: (place * 3 + number) % len(rates))  # no rate has a place of its own in time
    for place in order:
        tally = bench.open(rates[place], seed=len(before) * 100 + place)
        bad = tally.error_count + tally.wrong_count
        trials.append({"rate": rates[place], "sent": tally.sent_count, "bad": bad, "times": tally.times.to_plain()})
    trials.sort(key=lambda trial: trial["rate"])
    return {
        "model": bench.name,
        "peak": peak,
        "at": time.time(),
        "points": [asdict(point) for point in profile.points],
        "drift": profile.drift,
        "loads": [asdict(load) for load in loads],
        "costs": asdict(costs),
        "trials": trials,
    }


def model_of(runs: list[dict]) -> ReplicaModel:
    """Return a replica's model from all rounds: calls and costs pooled, and as drift how slow the machine was in each light load."""
    kinds = [[ProfilePoint(**{**point, "sample_ms": tuple(point["sample_ms"])}) for point in run["points"]] for run in runs]
    points = []
    for same in zip(*kinds, strict=False):
        typical = statistics.median(point.mean_ms for point in same)
        samples = np.sort(np.concatenate([np.array(point.sample_ms) * typical / point.mean_ms for point in same]))
        thinned = [float(part.mean()) for part in np.array_split(samples, min(200, len(samples)))]
        points.append(replace(same[0], mean_ms=typical, sample_ms=tuple(thinned)))
    profile = LatencyProfile(tuple(points))
    loads = [ObservedLoad(**load) for run in runs for load in run["loads"]]
    costs = fit_costs(loads, profile)
    speeds = np.array([load.processor_s / processor_s(load, profile, costs) for load in loads])
    return ReplicaModel(replace(profile, drift=tuple(np.sort(speeds).tolist())), costs, ServerShape())


def processor_s(load: ObservedLoad, profile: LatencyProfile, costs: ServerCosts) -> float:
    """Return the processor time that the load should have cost."""
    call_ms = profile.mean_ms(max(round(load.requests_per_call), 1), 1) + costs.round_ms
    return (load.call_count * call_ms + load.request_count * costs.request_ms) / 1e3


def late_share(steady: Steady, path_ms: float, promise_ms: float) -> float:
    """Return the share of requests that are late or refused."""
    late = float(steady.weights[steady.times_ms + path_ms > promise_ms].sum())
    return 1.0 - (1.0 - late) * (1.0 - steady.loss_ratio)


def computed_rate(model: ReplicaModel, promise_ms: float) -> float:
    """Return the rate at which 1 % are late, in the middle one of the machine's speeds."""
    usual = _at_usual_speed(model)
    return _where_late(lambda rate: late_share(usual.steady(rate), model.costs.path_ms, promise_ms), usual.peak_rps)


def _at_usual_speed(model: ReplicaModel) -> ReplicaModel:
    return replace(model, profile=replace(model.profile, drift=(statistics.median(model.profile.drift),)))


def simulated_rate(model: ReplicaModel, promise_ms: float) -> float:
    """Return the same from the simulation, which does not know the formula."""
    usual = _at_usual_speed(model)

    def share(rate: float) -> float:
        seen = simulate(usual, rate, seed=1, request_count=30_000)
        return (float((seen.latency_ms > promise_ms).sum()) + seen.lost_count) / (len(seen.latency_ms) + seen.lost_count)

    return _where_late(share, model.peak_rps)


def _where_late(share, peak: float) -> float:
    low, high = 0.02 * peak, 1.5 * peak
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if share(middle) <= LATE else (low, middle)
    return low


def found_rate(runs: list[dict], promise_ms: float) -> tuple[float, list[tuple[float, float]]]:
    """Return the rate at which 1 % of the requests were late or failed, by interpolation, and (rate, share in the middle trial) of each."""
    rows = []
    for rate in sorted({trial["rate"] for run in runs for trial in run["trials"]}):
        trials = [trial for run in runs for trial in run["trials"] if trial["rate"] == rate]
        late = [Histogram.from_plain(trial["times"]).count_above(promise_ms / 1e3) + trial["bad"] for trial in trials]
        rows.append((rate, statistics.median(count / trial["sent"] for count, trial in zip(late, trials, strict=True))))
    rates = [rate for rate, _ in rows]
    shares = np.maximum.accumulate([max(share, 1e-4) for _, share in rows])
    logs = np.log(shares)
    if shares[0] > LATE or shares[-1] <= LATE:
        return (0.0 if shares[0] > LATE else math.inf), rows
    above = int(np.searchsorted(shares, LATE, side="right"))
    part = (math.log(LATE) - logs[above - 1]) / (logs[above] - logs[above - 1])
    return float(rates[above - 1] + part * (rates[above] - rates[above - 1])), rows


def table(path: Path, promises: dict[str, list[float]]) -> None:
    """Print what was promised, simulated and found."""
    runs = json.loads(path.read_text())
    columns = ("model", "p99, ms", "computed, requests/s", "simulated", "found on the server", "computed / found")
    print(f"| {' | '.join(columns)} | late at the rates tried, middle trial | rounds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == name]
        model = model_of(own)
        for promise in promises.get(name, [PROMISES_MS[name]]):
            found, rows = found_rate(own, promise)
            computed, simulated = computed_rate(model, promise), simulated_rate(model, promise)
            tried = ", ".join(f"{rate:,.0f}: {share:.1%}" for rate, share in rows)
            ratio = computed / (found or math.nan)
            print(f"| {name} | {promise:g} | {computed:,.0f} | {simulated:,.0f} | {found:,.0f} | {ratio:.2f} | {tried} | {len(own)} |")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--models", nargs="+", default=list(PROMISES_MS))
    measuring.add_argument("--rounds", type=int, default=5)
    measuring.add_argument("--budget", type=float, default=math.inf, help="Seconds after which no round begins.")
    measuring.add_argument("--home", type=Path, help="Where the models are registered.  [default: a temporary folder]")
    measuring.add_argument("--out", type=Path, required=True)
    printing = commands.add_parser("table")
    printing.add_argument("runs", type=Path)
    printing.add_argument("--p99", action="append", default=[], metavar="MODEL=MS", help="Another promise to look at.")
    arguments = parser.parse_args()
    if arguments.command == "table":
        promises: dict[str, list[float]] = {}
        for text in arguments.p99:
            promises.setdefault(text.partition("=")[0], []).append(float(text.partition("=")[2]))
        table(arguments.runs, promises)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments.models, arguments.rounds, arguments.home or Path(folder), arguments.out, arguments.budget)


if __name__ == "__main__":
    main()
