"""Three versions of a small classifier in a registry that is a dictionary, releases of them, and servers that only say what they have."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import registered

from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.servers import BEAT
from fairlead.app.wiring import House
from fairlead.core.gate import parse_gate
from fairlead.core.heartbeat import Applied, ServerBeat
from fairlead.core.release import ReleaseKind
from fairlead.core.release_text import parse_steps
from fairlead.register import promotion
from fairlead.stores.document import dump
from memory_records import MemoryRecords


def three_pets(house: House, tmp_path: Path) -> House:
    """Three versions of `pets`, the first of them live."""
    house = dataclasses.replace(house, records=MemoryRecords(), settings=dataclasses.replace(house.settings, user="ann"))
    for seed in range(3):
        model = registered.classifier(tmp_path / f"{seed}.onnx", seed=seed)
        registered.add_version(house, "pets", model, alias="" if seed else "production")
    return house


def request(reference: str = "pets:2", **changes) -> ReleaseRequest:
    steps = {"steps": parse_steps("10%,50%"), "gate": parse_gate("error_rate")}
    return ReleaseRequest(ReleaseKind.CANARY, reference, **(steps | changes))


def live(house: House) -> int:
    return house.records.aliases("pets")["production"]


class Server(threading.Thread):
    """Says every few milliseconds that it has what the registry wants, or wanted `lag` beats ago, but for what it `cannot` load; or only
    that it lives (`is_deaf`).
    """

    def __init__(self, house: House, name: str, *, cannot: frozenset[int] = frozenset(), is_deaf: bool = False, lag: int = 0) -> None:
        super().__init__()
        self.seen = collections.deque([0] * lag, maxlen=lag + 1)
        self.house, self.until, self.cannot, self.is_deaf = house, threading.Event(), cannot, is_deaf
        self.beat = ServerBeat(name, "here", 1, f"http://{name}", "production", "0", 0.0, 0, 0)

    def run(self) -> None:
        records = self.house.records
        while not self.until.is_set():
            self.seen.append(records.sequence())
            sequence = self.seen[0]
            live = records.aliases("pets").get("production", 0)
            kept = promotion.current("pets", records=records)
            wanted = {live, *(kept.release.in_use() if kept is not None else ())}
            failed = sorted(wanted & self.cannot)
            problem = f"pets:{failed[0]} is damaged" if failed else ""
            applied = {"pets": Applied(live, tuple(sorted(wanted - self.cannot)), problem=problem, has_failed=bool(failed))}
            sequence, applied = (1, {"pets": Applied(1, (1,))}) if self.is_deaf else (sequence, applied)
            self.beat = dataclasses.replace(self.beat, count=self.beat.count + 1, sequence=sequence, applied=applied)
            records.put_report(BEAT, self.beat.id, dump(self.beat).decode(), self.house.clock())
            time.sleep(0.005)


@contextlib.contextmanager
def servers(*running: Server) -> Iterator[None]:
    for server in running:
        server.start()
    try:
        for server in running:
            registered.wait_until(lambda server=server: server.beat.count > 0)
        yield
    finally:
        for server in running:
            server.until.set()
            server.join()
