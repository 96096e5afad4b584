"""Watch what a server answers: statistics of every version, and findings where one breaks its promises.

Takes Observations from the data plane and the promises of versions; gives statistics, summaries and findings. `record` never raises and
never blocks; reviews happen in a thread of their own. It never touches a server: what to do about a finding is for others to decide.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairlead.core.observation import BatchObservation, Observation
from fairlead.core.ports import Clock
from fairlead.core.requirement import Requirement
from fairlead.errors import FairleadError
from fairlead.monitor.promise import Finding, Watchpoint, is_watched, judge, measured
from fairlead.monitor.window import Summary, Totals, Window

_VERSION_LIMIT = 256  # versions remembered; the one first seen goes
_Key = tuple[str, int]


@dataclass(frozen=True)
class WatchJob:
    """`promises` gives a version's requirements by name and number; `on_finding` is told when a finding opens or closes."""

    promises: Callable[[str, int], Sequence[Requirement]]
    on_finding: Callable[[Finding], None]
    window_s: float = 300.0
    interval_s: float = 5.0
    capacity: int = 20_000
    clock: Clock = time.time


def watch(job: WatchJob) -> Watcher:
    """Return a running watcher, an ObservationSink; close it when the server has stopped."""
    watcher = Watcher(job)
    watcher.start()
    return watcher


@dataclass(slots=True)
class _Watched:
    window: Window
    totals: Totals = field(default_factory=Totals)
    points: list[Watchpoint] | None = None  # None: the promises have not been asked for yet


class Watcher:
    """What `watch` returns. `record` is called by one thread; everything else may be called by any."""

    def __init__(self, job: WatchJob) -> None:
        self._job = job
        self._versions: dict[_Key, _Watched] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._review_often, name="fairlead-watch", daemon=True)

    def start(self) -> None:
        """Begin to review."""
        self._thread.start()

    def close(self) -> None:
        """Stop reviewing. Idempotent."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def record(self, observation: Observation) -> None:
        """Take one observation."""
        key = (observation.model, observation.version)
        watched = self._versions.get(key)
        if watched is None:
            if len(self._versions) >= _VERSION_LIMIT:
                del self._versions[next(iter(self._versions))]
            watched = self._versions[key] = _Watched(Window(self._job.window_s, self._job.capacity))
        watched.window.add(observation)
        watched.totals.add(observation)

    def record_batch(self, batch: BatchObservation) -> None:
        """Take what one call of an engine did; a promise is about requests, so it is not judged."""

    def summary(self, model: str, version: int) -> Summary:
        """Return what the version did in the window; zeros and NaN for one that was not asked yet."""
        watched = self._versions.get((model, version))
        return (watched.window if watched is not None else Window(self._job.window_s, 1)).summary(self._job.clock())

    def statistics(self, model: str, version: int) -> dict[str, object]:
        """Return the totals in the form of the statistics extension of the V2 protocol; times in ns, `last_inference` in ms."""
        watched = self._versions.get((model, version))
        totals = watched.totals if watched is not None else Totals()
        answered = totals.success_count
        return {
            "name": model,
            "version": str(version),
            "last_inference": round(totals.last_at * 1e3),
            "inference_count": totals.row_count,
            "execution_count": answered,
            "inference_stats": {
                "success": _duration(answered, totals.success_ms),
                "fail": _duration(totals.fail_count, totals.fail_ms),
                "queue": _duration(answered, totals.queue_ms),
                "compute_input": _duration(0, 0),
                "compute_infer": _duration(answered, totals.compute_ms),
                "compute_output": _duration(0, 0),
                "cache_hit": _duration(0, 0),
                "cache_miss": _duration(0, 0),
            },
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }

    def review(self) -> tuple[Finding, ...]:
        """Judge every promise once and return the findings that opened or closed."""
        now = self._job.clock()
        findings: list[Finding] = []
        for (model, number), watched in self._versions.copy().items():
            if watched.points is None:
                watched.points = [Watchpoint(requirement) for requirement in self._promises(model, number) if is_watched(requirement)]
            for place, point in enumerate(watched.points):
                value, count = measured(point.requirement, watched.window, now)
                watched.points[place], has_changed = judge(point, value, count)
                if has_changed:
                    findings.append(Finding(model, number, point.requirement, value, count, is_closed=point.is_open))
        return tuple(findings)

    def _promises(self, model: str, number: int) -> Sequence[Requirement]:
        try:
            return self._job.promises(model, number)
        except FairleadError:
            return ()  # a version whose record cannot be read has promised nothing that could be judged

    def _review_often(self) -> None:
        while not self._stopped.wait(self._job.interval_s):
            for finding in self.review():
                self._job.on_finding(finding)


def _duration(count: int, spent_ms: float) -> dict[str, int]:
    return {"count": count, "ns": round(spent_ms * 1e6)}
