"""One model as it is now: what its servers do, what was found of its answers, which alerts there are.

Takes a model's name and a House; gives Watched values, one for each look. The log is looked at in a thread of its own, so that a look never
waits for it; `wait` does. Raises NotFoundError for a model that is not registered, StorageError. It changes nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Self

from fairlead.app.alert_records import kept_alerts, last_looks
from fairlead.app.drift_report import DriftReport, DriftRequest, report
from fairlead.app.observations import open_log
from fairlead.app.quality_report import QualityRequest, QualityView, quality
from fairlead.app.quiet import Quiet
from fairlead.app.servers import Roll
from fairlead.app.top import Watching
from fairlead.app.wiring import House
from fairlead.core.alert import Alert
from fairlead.core.version import parse_reference
from fairlead.errors import FairleadError, StorageError
from fairlead.monitor.live_view import VersionView
from fairlead.register.resolve import resolve

AGAIN_S = 30.0


@dataclass(frozen=True)
class ServerLook:
    """One server: its address, and what the model's versions do there; `problem` where it does not answer."""

    url: str
    versions: tuple[VersionView, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Watched:
    """A look at `model`, whose live version is `version`. `quality` and `drift` are None until they were looked at, or where that is not
    possible: `notes` say why. `looked_at` is when they were (Unix seconds, 0: not yet). `alerts_at` is when somebody last looked for
    alerts (0: never); `is_unwatched`: nobody does any more.
    """

    model: str
    version: int
    at: float
    servers: tuple[ServerLook, ...]
    quality: QualityView | None
    drift: DriftReport | None
    alerts: tuple[Alert, ...]
    notes: tuple[str, ...]
    looked_at: float
    alerts_at: float = 0.0
    is_unwatched: bool = False


class Watch:
    """Looks at one model again and again; use it as a context manager."""

    def __init__(self, model: str, house: House, *, since_s: float) -> None:
        self._name = resolve(parse_reference(model), records=house.records).name
        self._house, self._since_s = house, since_s
        self._watching: dict[str, Watching] = {}
        self._roll = Roll(house.records, house.clock)
        self._lock = threading.Lock()
        self._quality: QualityView | None = None
        self._drift: DriftReport | None = None
        self._notes: tuple[str, ...] = ()
        self._looked_at = 0.0
        self._stopped, self._has_looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="fairlead-watch-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(1.0)  # it only reads, and ends with the process
        for watching in self._watching.values():
            watching.__exit__()

    def wait(self) -> None:
        """Wait until the log was looked at."""
        self._has_looked.wait()

    def look(self) -> Watched:
        """Return how the model is now."""
        version = resolve(parse_reference(self._name), records=self._house.records)
        alerts = tuple(kept.alert for kept in kept_alerts(self._house.records, self._name).values())
        servers, now = self._servers(), self._house.clock()
        last = last_looks(self._house.records).get(self._name)
        with self._lock:
            return Watched(
                self._name,
                version.number,
                now,
                servers,
                self._quality,
                self._drift,
                alerts,
                self._notes,
                self._looked_at,
                last.at if last is not None else 0.0,
                last is None or last.is_overdue(now),
            )

    def _servers(self) -> tuple[ServerLook, ...]:
        found = []
        for beat in self._roll.call():
            if not beat.url or self._name not in beat.applied:
                continue
            try:
                watching = self._watching.get(beat.url) or self._watching.setdefault(beat.url, Watching(beat.url))
                versions = tuple(one for one in watching.look().versions if one.model == self._name)
                found.append(ServerLook(beat.url, versions))
            except FairleadError as error:
                found.append(ServerLook(beat.url, problem=error.message))
        return tuple(found)

    def _work(self) -> None:
        while True:
            try:
                self._look_at_log()
            except StorageError as error:  # the next look tries again
                with self._lock:
                    self._notes = (f"The log, or the registry, cannot be read: {error.message}",)
            finally:
                self._has_looked.set()
            if self._stopped.wait(AGAIN_S):
                return

    def _look_at_log(self) -> None:
        house = self._house
        notes: list[str] = []
        found: QualityView | None = None
        moved: DriftReport | None = None
        try:
            found = quality(QualityRequest(self._name, self._since_s, is_replayed=False), house)
            notes += found.notes
        except StorageError:
            raise
        except FairleadError as error:
            notes.append(f"Quality: {error.message}")
        try:
            moved = report(DriftRequest(self._name, self._since_s), open_log(house), house, Quiet())
        except StorageError:
            raise
        except FairleadError as error:
            notes.append(f"Drift: {error.message}")
        with self._lock:
            self._quality, self._drift, self._notes, self._looked_at = found, moved, tuple(notes), house.clock()
