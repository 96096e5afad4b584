"""What every server does for releases beside answering: says that it lives, passes on what it counted, and decides where that is due.

Takes a House and a TrafficWitness; works in a thread of its own, once a second and at once where the server has followed a change. Never
raises and never makes the server wait: while the registry is away it tries again, and what was counted meanwhile is told then. Any number
of servers decide about the same release: the registry lets one of them win.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from fairlead._version import __version__
from fairlead.app.release_outlook import EVIDENCE, Assessor
from fairlead.app.servers import BEAT, BEAT_S, SILENT, Roll
from fairlead.app.webhook_delivery import Courier, Delivered
from fairlead.app.wiring import House
from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.heartbeat import Applied, ServerBeat
from fairlead.core.ports import TrafficWitness
from fairlead.core.release import Release
from fairlead.errors import CorruptError, FairleadError
from fairlead.register.promotion import Kept, judge, running
from fairlead.stores.document import dump

_JOIN_S = 2.0


@contextlib.contextmanager
def keeping(keeper: ReleaseKeeper) -> Iterator[ReleaseKeeper]:
    """Let `keeper` work while the context lasts."""
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.close()


class ReleaseKeeper:
    """Keeps the releases of one server that follows `alias`. Call `start` once and `close` at the end."""

    def __init__(self, house: House, alias: str, witness: TrafficWitness, report: Callable[[str], None]) -> None:
        self._records, self._clock, self._user = house.records, house.clock, house.settings.user
        self._witness, self._report = witness, report
        host, pid = socket.gethostname(), os.getpid()
        self._beat = ServerBeat(f"{host}-{pid}-{secrets.token_hex(4)}", host, pid, "", alias, __version__, house.clock(), 0, -1)
        self._assessor = Assessor(house.records, house.clock)
        self._roll = Roll(house.records, house.clock)
        self._courier = Courier(house, self._complain)
        self._told: dict[str, ReleaseEvidence] = {}
        self._damage: dict[str, str] = {}
        self._lock = threading.Lock()
        self._wake, self._is_closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="fairlead-releases", daemon=True)

    # What the server tells.

    def announced(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        """Return what to call with the URL once the server listens: others learn it, too."""

        def listening(url: str) -> None:
            with self._lock:
                self._beat = replace(self._beat, url=url)
            self._wake.set()
            tell(url)

        return listening

    def applied(self, sequence: int, models: Mapping[str, Applied]) -> None:
        """New requests follow what the registry wanted at `sequence`. Called in the event loop: it only takes a note."""
        with self._lock:
            self._beat = replace(self._beat, sequence=sequence, applied=dict(models))
        self._wake.set()

    def _complain(self, attempt: Delivered) -> None:
        """A webhook's receiver did not take what it was sent: that belongs into the server's log."""
        self._report(f"Webhook {attempt.webhook}: {attempt.event} {attempt.subject}: {attempt.complaint}")

    # Life.

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Tell what was counted last and that this server is gone."""
        self._is_closed = True
        self._wake.set()
        self._thread.join(_JOIN_S)
        self._courier.close()

    def _run(self) -> None:
        next_round = time.monotonic()
        while not self._is_closed:
            self._wake.wait(max(next_round - time.monotonic(), 0.0))
            self._wake.clear()
            is_due = time.monotonic() >= next_round
            if is_due:
                next_round = time.monotonic() + BEAT_S
            self._try(self._say)
            if is_due and not self._is_closed:
                self._try(self._round)
                self._courier.tick()
        self._try(self._leave)

    def _try(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(FairleadError):  # the follower says that the registry is away; the next round tries again
            act()

    # Rounds.

    def _say(self) -> None:
        with self._lock:
            beat = self._beat = replace(self._beat, count=self._beat.count + 1)
        self._records.put_report(BEAT, beat.id, dump(beat).decode(), self._clock())

    def _round(self) -> None:
        active = running(self._records, passes_over_damage=True)
        self._tell({kept.release.id for kept in active})
        self._assessor.forget(frozenset(kept.release.id for kept in active))
        for kept in active:
            if self._is_ours(kept.release):
                self._decide_or_say(kept)
        self._roll.call()
        self._roll.retire_silent()

    def _tell(self, active: set[str]) -> None:
        """Pass on what was counted since the last time, and forget what is of no use any more."""
        for release, evidence in self._witness.snapshot().items():
            if release in active and self._told.get(release) != evidence:
                self._records.put_report(EVIDENCE, f"{release}/{self._beat.id}", dump(evidence).decode(), self._clock())
                self._told[release] = evidence
        for release in self._told.keys() - active:
            self._records.drop_report(EVIDENCE, f"{release}/{self._beat.id}")
            del self._told[release]

    def _is_ours(self, release: Release) -> bool:
        return release.alias == self._beat.alias and release.name in self._beat.applied

    def _decide_or_say(self, kept: Kept) -> None:
        """Decide about one release; what is damaged about it is said once, and keeps no other release waiting."""
        try:
            self._decide(kept)
        except CorruptError as error:
            if self._damage.get(kept.release.id) != error.message:
                self._damage[kept.release.id] = error.message
                self._report(f"{kept.release.name}: {error}")

    def _decide(self, kept: Kept) -> None:
        outlook = self._assessor.assess(kept).outlook
        after = judge(kept, outlook, records=self._records, clock=self._clock, author=self._user)
        if after is not None and after.revision != kept.revision:
            event = after.release.log[-1]
            self._report(f"{kept.release.name}: {event.sentence}")

    def _leave(self) -> None:
        self._tell({kept.release.id for kept in running(self._records, passes_over_damage=True)})
        for kind in (BEAT, SILENT):
            self._records.drop_report(kind, self._beat.id)
