"""Everything at once, for as long as you like (R22): load, promotions, killed workers, cancelled and bad requests, then a clean stop.

    python benchmarks/soak.py                    a minute
    python benchmarks/soak.py --seconds 1800     half an hour, as `make soak SOAK_S=1800`

A real registry with two versions of a model (version n multiplies by n), `fairlead serve` with worker processes, and clients whose rows are
all different, so that another caller's row or another version's answer shows. It ends with 1 where an invariant is broken and says which.
The invariants are a pure function of what was seen (soak_invariants.py); tests/end_to_end/test_soak.py plants a fault for each.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.errors import FairleadError
from fairlead.probe.grpc_messages import infer_request, outputs_of
from fairlead.probe.http_client import HttpClient
from fairlead.probe.tensors import binary_request, json_tensors, read_answer
from soak_invariants import Answer, Evidence, violations

NAME = "soaked"
BAD_BODIES = (
    b"",
    b"{",
    b"[]",
    b'{"inputs": []}',
    b'{"inputs": [{"name": "x", "shape": [-1, 2], "datatype": "FP32", "data": [1, 2]}]}',
    b"\xff" * 99,
)


_TRIES = 3  # of a promotion: a version whose processes are killed while it is loaded is not promoted, and the one before goes on


class Soak:
    """What happens to one server."""

    def __init__(self, process: subprocess.Popen[str], url: str, grpc: str, home: str, seed: int) -> None:
        self.process, self.url, self.grpc, self.home, self.seed = process, url, grpc, home, seed
        self.evidence, self.lock, self.over = Evidence(), threading.Lock(), threading.Event()
        self.port = int(url.rpartition(":")[2])
        self._number = 0

    def run(self, seconds: float, *, switch_s: float, kill_s: float) -> Evidence:
        """Let everything happen at once for `seconds`, then stop the server."""
        tasks: list[Callable[[random.Random], None]] = [
            self.http_client,
            self.http_client,
            self.http_client,
            self.canceller,
            self.bad_client,
        ]
        tasks += [self.grpc_client, self.health, self.sampler]
        threads = [threading.Thread(target=self.guarded, args=(task, number)) for number, task in enumerate(tasks)]
        threads += [
            threading.Thread(target=self.every, args=(switch_s, self.promote)),
            threading.Thread(target=self.every, args=(kill_s, self.kill)),
        ]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        time.sleep(3)
        self.sample()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.evidence.exit_status = self.process.wait(30)
        return self.evidence

    def guarded(self, task: Callable[[random.Random], None], number: int) -> None:
        """Repeat `task` until it is over; what it raises is a loss."""
        generator = random.Random(f"{self.seed}/{number}")
        while not self.over.is_set():
            try:
                task(generator)
            except (OSError, http.client.HTTPException, FairleadError) as error:
                with self.lock:
                    self.evidence.lost.append(f"{task.__name__}: {type(error).__name__}: {error}")

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` again and again."""
        while not self.over.wait(seconds):
            action()

    def rows(self, generator: random.Random) -> np.ndarray:
        """Return one to four rows that nobody else sends."""
        with self.lock:
            self._number += 8
            first = self._number
        return np.arange(first, first + 2 * generator.randint(1, 4), dtype=np.float32).reshape(-1, 2)

    def note(self, answer: Answer) -> None:
        """Keep what became of a request."""
        with self.lock:
            self.evidence.answers.append(answer)

    def http_client(self, generator: random.Random) -> None:
        """A good client: 50 requests on one connection, JSON and binary."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(link):
            for _ in range(50):
                if self.over.is_set():
                    return
                x = self.rows(generator)
                sent_at = time.monotonic()
                if generator.random() < 0.5:
                    body, size = binary_request({"x": x}, {"parameters": {"binary_data_output": True}})
                    link.request("POST", f"/v2/models/{NAME}/infer", body, {"Inference-Header-Content-Length": str(size)})
                else:
                    link.request("POST", f"/v2/models/{NAME}/infer", json.dumps({"inputs": json_tensors({"x": x})}))
                reply = link.getresponse()
                data, headers = reply.read(), {key.lower(): value for key, value in reply.getheaders()}
                at = time.monotonic()
                if reply.status != 200:
                    self.note(Answer(sent_at, at, reply.status, text=data[:200].decode("utf-8", "replace")))
                    continue
                content, outputs = read_answer(data, headers)
                version = int(content["model_version"])
                right = np.array_equal(outputs["y"], x * np.float32(version))
                self.note(Answer(sent_at, at, 200, version, right, "" if right else f"{outputs['y'].tolist()} for {x.tolist()}"))

    def grpc_client(self, generator: random.Random) -> None:
        """The same over gRPC, raw tensors."""
        from fairlead.probe.grpc_client import GrpcClient

        statuses = {"OK": 200, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
        client = GrpcClient(self.grpc, timeout_s=30)
        with contextlib.closing(client):
            for _ in range(50):
                if self.over.is_set():
                    return
                x, sent_at = self.rows(generator), time.monotonic()
                call = client.call("ModelInfer", infer_request(NAME, {"x": x}))
                version = int(call.message.model_version) if call.status == "OK" else 0
                right = call.status != "OK" or np.array_equal(outputs_of(call.message)["y"], x * np.float32(version))
                self.note(Answer(sent_at, time.monotonic(), statuses.get(call.status, 500), version, right, call.came))

    def canceller(self, generator: random.Random) -> None:
        """A client that goes away: at any byte of its request, or before the answer; half of them with a reset."""
        body = json.dumps({"inputs": json_tensors({"x": self.rows(generator)})}).encode()
        raw = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link:
            link.sendall(raw[: generator.randrange(1, len(raw) + 1)] if generator.random() < 0.5 else raw)
            time.sleep(generator.random() * 0.01)
            if generator.random() < 0.5:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.evidence.cancelled_count += 1
        time.sleep(0.01)

    def bad_client(self, generator: random.Random) -> None:
        """Requests that are none; each is told so."""
        exchange = HttpClient(self.url, timeout_s=30).ask("POST", f"/v2/models/{NAME}/infer", generator.choice(BAD_BODIES))
        self.evidence.bad_statuses[exchange.status] += 1
        time.sleep(0.02)

    def health(self, generator: random.Random) -> None:
        """Live always; not ready never for long."""
        del generator
        client, began = HttpClient(self.url, timeout_s=10), time.monotonic()
        self.evidence.is_live.append(client.get("/v2/health/live").status == 200)
        while client.get("/v2/health/ready").status != 200 and not self.over.is_set():
            time.sleep(0.05)
            self.evidence.unready_s = max(self.evidence.unready_s, time.monotonic() - began)
        time.sleep(0.2)

    def sampler(self, generator: random.Random) -> None:
        """Memory and descriptors, twice a second."""
        del generator
        self.sample()
        self.over.wait(0.5)

    def sample(self) -> None:
        """Read what the server's process has now."""
        folder = Path(f"/proc/{self.process.pid}")
        self.evidence.memory_bytes.append(int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self.evidence.descriptors.append(len(list((folder / "fd").iterdir())))

    def promote(self) -> None:
        """Move the alias to the other version."""
        version = 1 if self.evidence.promotions and self.evidence.promotions[-1][1] == 2 else 2
        for _ in range(_TRIES):
            done = fairlead("promote", f"{NAME}:{version}", "--home", self.home)
            if not done.returncode:
                break
            with self.lock:
                self.evidence.refused_promotion_count += 1
        if done.returncode:
            self.evidence.faults.append(f"promote failed: {done.stderr}")
        else:
            self.evidence.promotions.append((time.monotonic(), version))

    def kill(self) -> None:
        """End a process below the server, or stop it, which is worse: it has to be noticed by its silence."""
        below = descendants(self.process.pid)
        if below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    random.Random(f"{self.seed}/{self.evidence.kill_count}").choice(below),
                    random.choice([signal.SIGKILL] * 3 + [signal.SIGSTOP]),
                )
                self.evidence.kill_count += 1


def descendants(pid: int) -> list[int]:
    """Return the processes below one, from /proc."""
    found: list[int] = []
    for child in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if int(child.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(child.parent.name), *descendants(int(child.parent.name))]
    return found


def fairlead(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours."""
    return subprocess.run([sys.executable, "-m", "fairlead", *arguments], capture_output=True, text=True, check=False)


def make_registry(folder: Path) -> str:
    """Deploy versions 1 and 2; return the registry's folder."""
    home = str(folder / "home")
    for factor in (1, 2):
        weight = numpy_helper.from_array(np.array([factor], np.float32), "w")
        ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])] for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], NAME, *ends, [weight])
        path = folder / f"{factor}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        done = fairlead("deploy", str(path), "--name", NAME, "--home", home)
        if done.returncode:
            raise SystemExit(f"deploy failed: {done.stderr}")
    return home


@contextlib.contextmanager
def served(home: str, workers: int):
    """Run `fairlead serve` until it is ready; give the process, its URL and its gRPC address."""
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "serve",
        NAME,
        "--port",
        "0",
        "--grpc-port",
        "0",
        "--workers",
        str(workers),
        "--home",
        home,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        url = grpc = ""
        while not (url and grpc):
            line = process.stderr.readline()
            said.append(line)
            if not line:
                raise SystemExit(f"the server did not start: {''.join(said)}")
            url = url or next(iter(re.findall(r"http://[\d.:]+", line)), "")
            grpc = grpc or next(iter(re.findall(r"gRPC.*?([\d.]+:\d+)", line)), "")
        threading.Thread(target=lambda: said.extend(process.stderr), daemon=True).start()
        while HttpClient(url).get(f"/v2/models/{NAME}/ready").status != 200:
            time.sleep(0.1)
        yield process, url, grpc
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def summary(evidence: Evidence) -> str:
    """Return what was seen, in three lines."""
    statuses = dict(Counter(answer.status for answer in evidence.answers))
    slowest = max((answer.answered_at - answer.sent_at for answer in evidence.answers), default=0.0)
    memory = " -> ".join(f"{evidence.memory_bytes[place] / 2**20:.0f}" for place in (0, -1))
    descriptors = " -> ".join(str(evidence.descriptors[place]) for place in (0, -1))
    promotions = f"{len(evidence.promotions)} promotions ({evidence.refused_promotion_count} tried again)"
    happened = f"{promotions}, {evidence.kill_count} kills, {evidence.cancelled_count:,} cancelled"
    return (
        f"{len(evidence.answers):,} good requests: {statuses}, slowest {slowest:.2f} s, lost {len(evidence.lost)}\n"
        f"{happened}, bad {dict(evidence.bad_statuses)}\n"
        f"not ready for at most {evidence.unready_s:.1f} s; memory {memory} MiB; descriptors {descriptors}; exit {evidence.exit_status}"
    )


def main() -> None:
    """Soak, print what was seen, end with 1 where an invariant is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    for name, default in (("--switch-s", 4.0), ("--kill-s", 5.0), ("--switch-bound-s", 5.0)):
        parser.add_argument(name, type=float, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = make_registry(Path(folder))
        with served(home, arguments.workers) as (process, url, grpc):
            soak = Soak(process, url, grpc, home, arguments.seed)
            evidence = soak.run(arguments.seconds, switch_s=arguments.switch_s, kill_s=arguments.kill_s)
    print(summary(evidence))
    broken = violations(evidence, arguments.switch_bound_s)
    print("\n".join(f"VIOLATION {text}" for text in broken) or f"every invariant held (seed {arguments.seed})")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
