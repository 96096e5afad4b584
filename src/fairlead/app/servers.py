"""The servers that follow a registry, as they say themselves: which of them live, which have followed a change, which fell silent.

Takes a RecordStore and time; gives ServerBeats. Raises StorageError. A server lives while it goes on saying so: clocks of other machines
are not believed where they disagree with ours. What a server cannot be read of is skipped.

One law of silence, for everybody: after 5 s a server is not waited for; after SILENT_S the others write down what it said last, and look
for it no more; what it had loaded is believed until FORGOTTEN_S, since one that lost the registry goes on serving.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fairlead.core.heartbeat import ServerBeat
from fairlead.core.ports import Clock, RecordStore
from fairlead.errors import CorruptError
from fairlead.stores.document import load

BEAT, SILENT = "server", "silent-server"
BEAT_S = 1.0
SILENT_S = 60.0
FORGOTTEN_S = 3600.0
WAIT_S = 60.0  # how long a command waits for servers unless it is told
_LIVE_S = 5.0  # one that has not said anything for that long is gone, or as good as gone
_DOUBT_S = 1.6  # a beat that looks old may be of a clock that goes wrong: it gets the time of one beat to show that it lives
_SWEEP_S = 5.0
LOOK_S = 0.02  # nobody is told of a beat: whoever waits for one looks


@dataclass(frozen=True)
class Followed:
    """Who follows a change: `servers` live, of these `behind` have not followed it yet; it took `seconds` to find out."""

    servers: tuple[ServerBeat, ...]
    behind: tuple[ServerBeat, ...]
    seconds: float


class Roll:
    """Calls the roll as often as it is asked. `now` is Unix seconds, `monotonic` any steady clock."""

    def __init__(self, records: RecordStore, now: Clock, monotonic: Clock = time.monotonic) -> None:
        self._records, self._now, self._monotonic = records, now, monotonic
        self._heard: dict[str, tuple[int, float, bool]] = {}  # id -> count, when it was heard, whether it is known to live
        self._swept_at = -math.inf

    def call(self) -> tuple[ServerBeat, ...]:
        """Return the servers that live."""
        at, now = self._monotonic(), self._now()
        living = []
        heard: dict[str, tuple[int, float, bool]] = {}
        for report in self._records.reports(BEAT):
            try:
                beat = load(report.body.encode(), ServerBeat)
            except CorruptError:
                continue
            count, since, is_known = self._heard.get(beat.id, (beat.count, at, abs(now - report.at) < _LIVE_S))
            if count != beat.count:
                count, since, is_known = beat.count, at, True
            heard[beat.id] = (count, since, is_known)
            if is_known and at - since < _LIVE_S:
                living.append(beat)
        self._heard = heard
        return tuple(living)

    def until(self, is_enough: Callable[[tuple[ServerBeat, ...]], bool]) -> tuple[ServerBeat, ...]:
        """Return the servers that live: once `is_enough` of them, or once every server has had the time to show that it lives."""
        while not is_enough(living := self.call()) and not self.is_sure:
            time.sleep(LOOK_S)
        return living

    @property
    def is_sure(self) -> bool:
        """Whether every server has had the time to show that it lives."""
        at = self._monotonic()
        return all(is_known or at - since > _DOUBT_S for _, since, is_known in self._heard.values())

    def retire_silent(self) -> None:
        """Look no more for servers that were silent for SILENT_S; keep what they said last until FORGOTTEN_S. Cheap to call often."""
        at, now = self._monotonic(), self._now()
        if at - self._swept_at < _SWEEP_S:
            return
        self._swept_at = at
        silent = {key for key, (_, since, _) in self._heard.items() if at - since > SILENT_S}
        for report in self._records.reports(BEAT) if silent else ():
            if report.key in silent:
                self._records.put_report(SILENT, report.key, report.body, now)
                self._records.drop_report(BEAT, report.key)
        for report in self._records.reports(SILENT):
            if abs(now - report.at) > FORGOTTEN_S:
                self._records.drop_report(SILENT, report.key)


def wait_for_servers(name: str, sequence: int, *, records: RecordStore, now: Clock, wait_s: float) -> Followed:
    """Wait until every living server meets what the registry wanted of the model `name` at `sequence`, or cannot, or `wait_s` is over."""
    roll, began = Roll(records, now), time.monotonic()
    while True:
        living = roll.call()
        behind = tuple(beat for beat in living if not beat.has_caught_up(name, sequence))
        waiting = [beat for beat in behind if not beat.has_failed(name, sequence)]
        passed_s = time.monotonic() - began
        if (not waiting and roll.is_sure) or passed_s > wait_s:
            return Followed(living, behind, passed_s)
        time.sleep(LOOK_S)


def last_heard(records: RecordStore, now: float, *, but: Collection[str] = ()) -> tuple[ServerBeat, ...]:
    """Return what servers said last that fell silent, none of those in `but`, and are not forgotten yet. `now` is Unix seconds."""
    found: dict[str, ServerBeat] = {}
    for report in (*records.reports(SILENT), *records.reports(BEAT)):
        if report.key in but or abs(now - report.at) > FORGOTTEN_S:
            continue
        with contextlib.suppress(CorruptError):  # of a newer release; what aliases point at stays anyway
            found[report.key] = load(report.body.encode(), ServerBeat)
    return tuple(found.values())
