"""What dividing requests costs: microseconds of a small V2 request inside the server, without a release and with one, measured in turns.

    python benchmarks/traffic_cost.py [--requests 4000] [--rounds 15]

Everything between the parsed head of a request and the bytes of its reply, on the way that needs no coroutine; no socket, and an engine
that only copies. What is counted and compared of a release is counted in. Prints the table of docs/reference/traffic.md: the fastest of the
rounds, since everything else on the machine only adds to a time, and what each case costs beyond no release.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.traffic import Arm, Shadow, TrafficPlan
from fairlead.core.version import Version
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Memo, to_bytes
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.scheduler import Scheduler
from fairlead.serve.serve_job import NullSink
from fairlead.serve.traffic import Traffic
from fairlead.serve.traffic_mirror import Mirror
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.serve.version_plan import Plan

TEN = Interface(
    (TensorSpec("x", DType.FP32, (None, 10)),),
    (TensorSpec("y", DType.FP32, (None, 10)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y"),
    tuple("0123456789"),
)
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 10], "datatype": "FP32", "data": [float(value) for value in range(10)]}]}).encode()
_AT_ONCE = 16  # requests that wait for their answers together
ARMS = (Arm("live", 1, 0.9), Arm("candidate", 2, 0.1))
CASES = {
    "no release": None,
    "canary 10 %": TrafficPlan("r", 0, ARMS, salt="r"),
    "canary 10 %, sticky by a header": TrafficPlan("r", 0, ARMS, sticky="user_id", salt="r"),
    "four arms": TrafficPlan("r", 0, tuple(Arm(name, place % 2 + 1, 0.25) for place, name in enumerate("ABCD")), salt="r"),
    "shadow 10 %": TrafficPlan("r", 0, (Arm("live", 1, 1.0), Arm("candidate", 2, 0.0)), shadow=Shadow(2, 0.1), salt="r"),
}


class Copying:
    """Gives its input back."""

    interface = TEN
    description = "copying 1"

    def run(self, inputs, outputs=()):
        """Return a copy."""
        del outputs
        return {"y": inputs["x"].copy()}

    def close(self) -> None:
        """Nothing to give back."""


class World:
    """An api over two versions of one model."""

    def __init__(self) -> None:
        self.table, counter = ModelTable(), TrafficCounter()
        plane = DataPlane(self.table, NullSink(), queue_limit=128)
        mirror = Mirror(self.table, counter, is_calm=lambda: not plane.in_flight, open_twin=None, report=print)
        self.traffic = Traffic(self.table, counter, mirror, label="production", report=print)
        for number in (1, 2):
            version = Version("m", number, Manifest((FileEntry("model.onnx", 1, f"{number:064x}"),)), 0.0)
            executor = EngineExecutor(Copying(), 1)
            scheduler = Scheduler(executor, BatchPolicy(is_enabled=False), lambda _: None)
            scheduler.expect(10, 0.005)
            self.table.enter(ServedVersion(version, executor, scheduler))
        self.direct = Api(ApiJob(plane, HttpLimits(), "0", lambda: "", print, witness=counter)).direct
        self.memo, self.count, self.answered, self.failures = Memo(), 0, 0, 0

    def arrange(self, plan: TrafficPlan | None) -> None:
        """Divide by `plan` from now on."""
        self.table.arrange("m", Plan((), 1, {"production": 1}, (), plan))

    def finish(self, request, reply) -> None:
        """Write the reply's bytes."""
        self.answered += 1
        self.failures += reply.status != 200
        to_bytes(reply, request, date=b"x", is_closing=False)

    async def run(self, count: int) -> float:
        """Return microseconds of the event loop's processor time per request."""
        headers = {b"content-type": b"application/json", b"user-id": b"u7"}
        began = time.thread_time()
        for _ in range(count):
            self.count += 1
            request = HttpRequest(b"POST", b"/v2/models/m/infer", headers, BODY, request_id=f"abcdef01-{self.count:x}", memo=self.memo)
            self.direct.begin(request, self.finish)
            while self.count - self.answered > _AT_ONCE or (self.count % _AT_ONCE == 0 and self.count > self.answered):  # noqa: ASYNC110 - as a loop has turns
                await asyncio.sleep(0)
        return (time.thread_time() - began) / count * 1e6


async def main(requests: int, rounds: int) -> None:
    world, times = World(), {name: [] for name in CASES}
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as the server has it
    for _ in range(rounds):
        for name, plan in CASES.items():
            world.arrange(plan)
            times[name].append(await world.run(requests))
    await world.traffic.stop()
    base = min(times["no release"])
    print("| | µs per request | more than without |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {min(found):.1f} | {min(found) - base:.1f} |")
    medians = ", ".join(f"{name} {statistics.median(found):.1f}" for name, found in times.items())
    print(f"\nThe fastest of {rounds} rounds of {requests} requests each; medians: {medians}.")
    if world.failures:
        raise SystemExit(f"{world.failures} requests failed.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    asyncio.run(main(given.requests, given.rounds))
