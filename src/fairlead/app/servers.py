"""The servers that follow a registry, as they say themselves: which of them live, and which have followed a change.

Takes a RecordStore and time; gives ServerBeats. Raises StorageError. A server lives while it goes on saying so: clocks of other machines
are not believed where they disagree with ours. What a server cannot be read of is skipped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from fairlead.core.heartbeat import ServerBeat
from fairlead.core.ports import Clock, RecordStore
from fairlead.errors import CorruptError
from fairlead.stores.document import load

BEAT = "server"
BEAT_S = 1.0
_LIVE_S = 5.0  # one that has not said anything for that long is gone, or as good as gone
_DOUBT_S = 1.6  # a beat that looks old may be of a clock that goes wrong: it gets the time of one beat to show that it lives
_LOOK_S = 0.02


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

    @property
    def is_sure(self) -> bool:
        """Whether every server has had the time to show that it lives."""
        at = self._monotonic()
        return all(is_known or at - since > _DOUBT_S for _, since, is_known in self._heard.values())

    def silent(self, seconds: float) -> tuple[str, ...]:
        """Return the ids of those that have not been heard for that long."""
        at = self._monotonic()
        return tuple(key for key, (_, since, _) in self._heard.items() if at - since > seconds)


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
        time.sleep(_LOOK_S)
