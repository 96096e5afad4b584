"""R07: a server with workers under load, whose workers are killed and stopped at random; nothing may be lost that was not in a dead worker.

Clients ask over HTTP in a closed loop, each request with a deadline. Every few seconds a worker gets SIGKILL, SIGSTOP, SIGSEGV or
SIGABRT. Prints what was answered and the slowest replacement; fails where an answer was wrong or late, more requests failed than kills
explain, a replacement took more than 3 s, or processes or descriptors are left. For an hour with a kill each 5 s:
python benchmarks/worker_kills.py --kills 720 --pause 5
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from fairlead.core.golden import Golden
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.opening import DeferredEngine
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread
from worker_models import MOBILE, SIDE, mobile

DEADLINE_S, MARGIN_S, REPLACED_S = 4.0, 1.0, 3.0
SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT)
ROWS = np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)


class Source:
    """One model, always wanted."""

    def __init__(self, folder: Path) -> None:
        self._path = mobile(folder / "mobile.onnx")
        self.answers = OnnxRuntimeEngine(self._path, MOBILE).run({"x": ROWS})["y"]

    def aspired(self) -> dict[str, Version]:
        """Return the version."""
        return {"mobile": Version("mobile", 1, Manifest((FileEntry("model.onnx", 1, f"{1:064x}"),)), 0.0)}

    def sequence(self) -> int:
        """Return what never changes."""
        return 1

    def load(self, version: Version) -> LoadedModel:
        """Leave opening it to workers."""
        del version
        engine = DeferredEngine(MOBILE, lambda: OnnxRuntimeEngine(self._path, MOBILE))
        golden = Golden({"x": ROWS}, {"y": self.answers})
        return LoadedModel(engine, golden, recipe=EngineRecipe("onnxruntime", self._path, MOBILE, is_fork_safe=True))


class Clients:
    """Closed loops that compare every answer."""

    def __init__(self, url: str, answers: np.ndarray, count: int) -> None:
        self._address, self._answers = url.removeprefix("http://"), answers
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when each has had its last answer."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, index: int) -> None:
        row = index % len(ROWS)
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE], "parameters": {"binary_data_size": ROWS[0].nbytes}}
        header = {"inputs": [tensor], "parameters": {"timeout": int(DEADLINE_S * 1e6)}}
        head = json.dumps(header).encode()
        body = head + ROWS[row].tobytes()
        link = http.client.HTTPConnection(self._address, timeout=60)
        while not self._is_over.is_set():
            began = time.monotonic()
            try:
                link.request("POST", "/v2/models/mobile/infer", body, {"Inference-Header-Content-Length": str(len(head))})
                reply = link.getresponse()
                answer = json.loads(reply.read())
                kind = str(reply.status)
                if reply.status == 200 and not np.allclose(answer["outputs"][0]["data"], self._answers[row], atol=1e-3):
                    kind = "WRONG"
            except (OSError, http.client.HTTPException, ValueError) as error:
                kind = type(error).__name__
                link.close()
            with self._lock:
                self.counts[kind] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        link.close()


def children(pid: int) -> set[int]:
    """Return the processes whose parent is `pid`."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def kill(workers: set[int], zygote: int) -> float:
    """Send one of them a signal; return the seconds until it is gone and another is there."""
    victim = random.choice(sorted(workers))
    began = time.monotonic()
    os.kill(victim, random.choice(SIGNALS))
    while True:
        now = children(zygote)
        if victim not in now and len(now) == len(workers):
            return time.monotonic() - began
        if time.monotonic() - began > 60:
            raise SystemExit(f"worker {victim} was not replaced")
        time.sleep(0.01)


def main() -> None:
    """Run it and judge it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Path(folder))
        with ServerThread(ServeJob(source, port=0)):
            pass  # the first event loop of uvloop opens a pipe that stays
        before = len(list(Path("/proc/self/fd").iterdir())), children(os.getpid())
        with ServerThread(ServeJob(source, port=0, worker_count=arguments.workers)) as server:
            (zygote,) = children(os.getpid()) - before[1]
            clients = Clients(server.url, source.answers, arguments.clients)
            replaced_s = []
            for _ in range(arguments.kills):
                time.sleep(arguments.pause)
                replaced_s.append(kill(children(zygote), zygote))
            time.sleep(1.0)
            clients.stop()
        time.sleep(1.0)
        after = len(list(Path("/proc/self/fd").iterdir())), children(os.getpid())
    counts = clients.counts
    print(f"{arguments.kills} kills, {sum(counts.values())} requests: {dict(counts)}; slowest {clients.slowest_s:.2f} s")
    print(f"replaced after {sorted(replaced_s)[len(replaced_s) // 2]:.2f} s in the median, {max(replaced_s):.2f} s at most")
    verdicts = {
        "every answer right": not set(counts) - {"200", "503", "504"},
        "no more failed than were in flight in dead workers": counts["503"] + counts["504"] <= arguments.kills,
        f"nobody waited longer than the deadline of {DEADLINE_S:g} s": clients.slowest_s <= DEADLINE_S + MARGIN_S,
        f"replaced within {REPLACED_S:g} s": max(replaced_s) <= REPLACED_S,
        "nothing left": after == before,
    }
    for sentence, is_kept in verdicts.items():
        print(f"{'kept  ' if is_kept else 'MISSED'} {sentence}")
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
