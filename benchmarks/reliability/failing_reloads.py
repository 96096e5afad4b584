"""R02: versions that cannot be loaded, under load: the one that serves goes on, each failure has its reason, memory comes back.

    python benchmarks/reliability/failing_reloads.py [--rounds 1] [--clients 4]       (--rounds 50: the long form)

A server in this process serves version 1 of a model; each next version fails in one of six ways: a damaged file, another signature,
more memory than the budget, other golden answers, a load that hangs until its time is over, one that is withdrawn while it hangs. Clients
ask all the while and compare every answer. Positive controls: a good version at the end has to take over; with --plant, one with other
golden answers brings such as fit it, answers wrongly, and this ends with 1.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from serving_house import write_multiplier

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

KINDS = {
    "damaged file": "bad_source",
    "other signature": "bad_source",
    "over the budget": "unavailable",
    "other golden answers": "unavailable",
}
KINDS |= {"hangs": "unavailable", "withdrawn while it hangs": ""}
LOAD_TIMEOUT_S, BUDGET_BYTES, LARGE_BYTES = 2.0, 64 * 2**20, 128 * 2**20
_X = {"x": np.array([[1.0, 2.0]], np.float32)}


class Source:
    """Version 1 is good; the wanted one is what `want` says."""

    def __init__(self, folder: Path, *, is_planted: bool = False) -> None:
        self.is_planted = is_planted
        self.wrong = write_multiplier(folder / "wrong.onnx", 4.0)
        self.folder, self.number, self.changes = folder, 1, 0
        self.kinds: dict[int, str] = {}  # by version; the others are good
        self.good = write_multiplier(folder / "good.onnx", 3.0)
        self.large = write_multiplier(folder / "large.onnx", 3.0, weight_bytes=LARGE_BYTES)
        self.damaged = folder / "damaged.onnx"
        self.damaged.write_bytes(self.good.read_bytes()[:-40])
        self.interface = Interface(*session_specs(open_session(self.good, thread_count=1, optimization="all")))
        self.released = threading.Event()  # of the version that is wanted now

    def want(self, number: int, kind: str) -> None:
        """Let that version be the one that should answer."""
        if kind != "good":
            self.released, self.kinds[number] = threading.Event(), kind
        self.number, self.changes = number, self.changes + 1

    def aspired(self) -> dict[str, Version]:
        """Return the wanted version."""
        return {"m": Version("m", self.number, Manifest((FileEntry("model.onnx", 1, f"{self.number:064x}"),)), 0.0)}

    def sequence(self) -> int:
        """Return what changes when the wish does."""
        return self.changes

    def load(self, version: Version) -> LoadedModel:
        """Load it, or fail as it is meant to."""
        kind = self.kinds.get(version.number, "good")
        if "hangs" in kind:
            self.released.wait(30)
        path = {"damaged file": self.damaged, "over the budget": self.large}.get(kind, self.good)
        if self.is_planted and kind == "other golden answers":
            path = self.wrong  # its golden answers are its own, and nobody can tell
        interface = self.interface
        if kind == "other signature":
            interface = Interface((TensorSpec("x", DType.FP64, (None, 2)),), interface.outputs)
        engine = OnnxRuntimeEngine(path, interface)
        factor = 4.0 if kind == "other golden answers" else 3.0
        return LoadedModel(engine, Golden(_X, {interface.outputs[0].name: _X["x"] * factor}))


class Clients:
    """Closed loops over REST; every answer has to be three times the question."""

    def __init__(self, url: str, count: int) -> None:
        self._address, self._is_over = url.removeprefix("http://"), threading.Event()
        self.counts: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.longest_s = 0.0
        self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when each has had its last answer."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, index: int) -> None:
        link, number = http.client.HTTPConnection(self._address, timeout=60), index * 4096
        while not self._is_over.is_set():
            number += 1
            body = f'{{"inputs":[{{"name":"x","shape":[1,2],"datatype":"FP32","data":[{number}, 0.5]}}]}}'
            began = time.monotonic()
            try:
                link.request("POST", "/v2/models/m/infer", body)
                reply = link.getresponse()
                answer = json.loads(reply.read())
                kind = str(reply.status)
                if reply.status == 200:
                    self.versions[answer["model_version"]] += 1
                    if answer["outputs"][0]["data"] != [3.0 * number, 1.5]:
                        kind = "WRONG"
            except (OSError, http.client.HTTPException, ValueError) as error:
                kind = type(error).__name__
                link.close()
            self.counts[kind] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        link.close()


def resident_bytes() -> int:
    """Return what this process takes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fail(server: ServerThread, source: Source, number: int, kind: str) -> str:
    """Want a version that fails; return the code that the server gives for it, "" where it says nothing."""
    source.want(number, kind)
    until = time.monotonic() + 30
    table = server.server.table if server.server is not None else None
    if table is None:
        raise SystemExit("the server is gone")
    if kind.startswith("withdrawn"):
        while not any(state.number == number for state in table.states()) and time.monotonic() < until:
            time.sleep(0.01)
        source.want(1, "good")
        while any(state.number == number and state.state.value == "LOADING" for state in table.states()) and time.monotonic() < until:
            time.sleep(0.01)
        source.released.set()
        return ""
    while time.monotonic() < until:
        if table.models["m"].default == number:
            source.want(1, "good")
            return "was served"
        codes = [state.code for state in table.states() if state.number == number and state.code]
        if codes:
            source.released.set()
            source.want(1, "good")
            return codes[0]
        time.sleep(0.01)
    return "nothing for 30 s"


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--plant", action="store_true")
    options = parser.parse_args()
    codes: dict[str, Counter[str]] = {kind: Counter() for kind in options.kinds}
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Path(folder), is_planted=options.plant)
        job = ServeJob(source, port=0, follow_interval_s=0.05, load_timeout_s=LOAD_TIMEOUT_S, memory_budget_bytes=BUDGET_BYTES)
        with ServerThread(job) as server:
            clients, number = Clients(server.url, options.clients), 1
            for _ in range(options.rounds):
                for kind in options.kinds:
                    number += 1
                    codes[kind][fail(server, source, number, kind)] += 1
                    time.sleep(0.2)
                memory.append(resident_bytes())
            before = dict(clients.versions)
            source.want(number + 1, "good")
            until = time.monotonic() + 30
            while str(number + 1) not in clients.versions and time.monotonic() < until:
                time.sleep(0.05)
            clients.stop()
        while any(thread.name.startswith("fairlead-load") for thread in threading.enumerate()):
            time.sleep(0.05)  # ONNX Runtime aborts a process that ends within it
    print(f"{sum(clients.counts.values())} requests: {dict(clients.counts)}; the longest took {clients.longest_s:.3f} s")
    for kind, found in codes.items():
        print(f"{kind}: {dict(found)}")
    half = max(len(memory) // 2, 1)
    growth = (statistics.median(memory[half:] or memory) - statistics.median(memory[:half])) / 2**20
    print(f"memory: {memory[0] / 2**20:.0f} MiB after the first round, {growth:+.1f} MiB from the first half of the rounds to the second")
    verdicts = {
        "every answer right, none missing": set(clients.counts) == {"200"},
        "only the version that served answered": set(before) == {"1"},
        "each failure has its reason": all(set(found) == {KINDS[kind]} for kind, found in codes.items()),
        "memory came back": growth < LARGE_BYTES / 2**20 / 4,
        "a good version takes over (control)": str(number + 1) in clients.versions,
    }
    for sentence, is_kept in verdicts.items():
        print(f"{'kept  ' if is_kept else 'MISSED'} {sentence}")
    return int(not all(verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
