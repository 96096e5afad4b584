"""R13 and R14: peers that send or read a byte at a time, while good clients ask.

    python benchmarks/reliability/slow_peers.py [--seconds 60] [--peers 500] [--readers 200]        (--seconds 600: the long form)

Kinds of peers, one after the other: HTTP headers byte by byte, a body byte by byte, HTTP/2 connections that say half of what begins one;
then readers that ask for a reply of some MiB and take a byte a second of it. A peer that is closed comes again. Prints, for each kind, how
long peers were kept, what the good clients' p99 was beside them, and the largest resident memory of the server. It fails where one was kept
longer than its deadline allows, a good answer was wrong or missing, or the good clients' p99 was above a quarter of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from serving_house import NAME, Client, RestClient, ServerProcess, make_home, served

from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.http.limits import HttpLimits

_HTTP, _GRPC = HttpLimits(), GrpcLimits()
_PAUSE_S = 5.0  # between two bytes
_SLACK_S = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of slow peers: what it sends at once, what byte by byte, and how long it may stay."""

    title: str
    is_grpc: bool
    at_once: bytes
    slowly: bytes
    deadline_s: float


asked = threading.Semaphore(0)  # readers that have sent their request
KINDS = (
    Kind("headers byte by byte", False, b"", _HEAD + b"X-Long: " + b"x" * 200, _HTTP.header_deadline_s),
    Kind("a body byte by byte", False, _HEAD + b"Content-Length: 300\r\n\r\n", b" " * 300, _HTTP.body_deadline_s),
    Kind("half of an HTTP/2 preface", True, _PREFACE[:10], b"", _GRPC.header_deadline_s),
)


async def linger(kind: Kind, server: ServerProcess, until: float, kept: list[float]) -> None:
    """Be such a peer again and again; note how long each was kept."""
    host, _, port = server.grpc_address.rpartition(":") if kind.is_grpc else ("127.0.0.1", "", str(server.port))
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.5)
            continue
        with contextlib.suppress(OSError):
            writer.write(kind.at_once)
            closed = asyncio.create_task(reader.read())
            for place in range(10**6):
                done, _ = await asyncio.wait((closed,), timeout=_PAUSE_S)
                if done or time.monotonic() > until + kind.deadline_s + 2 * _SLACK_S:
                    break
                if place < len(kind.slowly):
                    writer.write(kind.slowly[place : place + 1])
            closed.cancel()
        writer.transport.abort()
        kept.append(time.monotonic() - began)


async def read_slowly(request: bytes, server: ServerProcess) -> None:
    """Ask for a large reply and take a byte a second of it, for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    try:
        try:
            writer.write(request)
            await writer.drain()
        finally:
            asked.release()  # also where it was refused: the server takes so much at once and no more
        while await reader.read(1):  # noqa: ASYNC110 - being slow is what it is for
            await asyncio.sleep(1.0)
    finally:
        writer.transport.abort()


async def read_all_slowly(request: bytes, server: ServerProcess, count: int, kept: list[float]) -> None:
    """Be that many readers; note how long after the last had asked the server let go of them all.

    The kernel goes on sending what it was given, so the readers themselves would notice it much later.
    """
    await asyncio.sleep(2.0)  # the good clients' own connections count as well, and they have just begun
    before = server.leavings()["descriptors"]
    readers = [asyncio.create_task(read_slowly(request, server)) for _ in range(count)]
    for _ in range(count):
        while not asked.acquire(blocking=False):  # noqa: ASYNC110 - one loop for each round: an event would belong to the first
            await asyncio.sleep(0.05)
    began = time.monotonic()
    while server.leavings()["descriptors"] > before + count // 20 and time.monotonic() < began + 120:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.2)
    kept.append(time.monotonic() - began)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


class Timed(RestClient):
    """A good client that notes how long it waits."""

    def connect(self):
        """Return a function that asks once, twenty times a second."""
        ask, self.times = super().connect(), getattr(self, "times", [])

        def timed(value: np.float32):
            time.sleep(0.05)
            began = time.perf_counter()
            answer = ask(value)
            self.times.append(time.perf_counter() - began)
            return answer

        return timed


def beside(server: ServerProcess, peers: Callable[[], Awaitable[None]]) -> tuple[list[float], list[str], int]:
    """Run good clients beside peers; return their times, their problems, and the largest resident memory of the server."""
    until, largest = threading.Event(), [0]
    clients: list[Client] = [Timed(server, until) for _ in range(4)]

    def look() -> None:
        while not until.wait(0.2):
            largest[0] = max(largest[0], server.resident_bytes())

    watcher = threading.Thread(target=look)
    for thread in (*clients, watcher):
        thread.start()
    asyncio.run(peers())  # type: ignore[arg-type]
    until.set()
    for thread in (*clients, watcher):
        thread.join()
    return [item for client in clients for item in client.times], [text for client in clients for text in client.problems], largest[0]


def large_request(mib: int) -> bytes:
    """Return a request whose reply has that many MiB."""
    raw = np.ones((mib * 2**18 // 2, 2), np.float32).tobytes()
    tensor = {"name": "x", "shape": [len(raw) // 8, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    head = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: l\r\nInference-Header-Content-Length: {len(text)}\r\n"
    return f"{head}Content-Length: {len(text) + len(raw)}\r\n\r\n".encode() + text + raw


def main() -> int:
    """Print a line for each kind; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--peers", type=int, default=500)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--reply-mib", type=int, default=8)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    request, wrong = large_request(options.reply_mib), []
    print("| peers | closed | kept at most | allowed | good answers | their p99, alone | beside | the longest | server's memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, served(make_home(Path(folder), 1)) as server:
        alone, problems, _ = beside(server, lambda: asyncio.sleep(5.0))
        wrong += problems
        rows = [(f"{options.peers}: {kind.title}", options.peers, kind.deadline_s, kind) for kind in KINDS]
        rows.append((f"{options.readers}: a byte a second of {options.reply_mib} MiB", options.readers, _HTTP.write_deadline_s, None))
        for title, count, deadline_s, kind in rows:
            kept: list[float] = []

            async def peers(count: int = count, kind: Kind | None = kind, kept: list[float] = kept) -> None:
                until = time.monotonic() + options.seconds
                if kind is None:
                    await read_all_slowly(request, server, count, kept)
                    return
                await asyncio.gather(*(linger(kind, server, until, kept) for _ in range(count)))

            times, problems, memory = beside(server, peers)
            wrong += problems
            cells = [title, f"{len(kept)}", f"{max(kept):.1f} s", f"{deadline_s:g} s", f"{len(times)}"]
            cells += [f"{np.percentile(values, 99) * 1e3:.1f} ms" for values in (alone, times)]
            print(f"| {' | '.join([*cells, f'{max(times) * 1e3:.0f} ms', f'{memory / 2**20:.0f} MiB'])} |", flush=True)
            if max(kept) > deadline_s + _PAUSE_S + _SLACK_S or np.percentile(times, 99) > 0.25:
                wrong.append(f"{title}: kept for {max(kept):.1f} s, p99 {np.percentile(times, 99):.3f} s")
    print("\n".join(wrong) or "nothing wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
