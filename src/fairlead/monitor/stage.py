"""Watch what a server answers: counts of every version, and findings where one breaks its promises.

Takes Observations from the data plane and the promises of versions; gives statistics, summaries, tallies for metrics, and findings.
`record` never raises and never blocks; reviews happen in a thread of their own. It never touches a server: what to do about a finding is
for others to decide.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.core.ports import Clock
from fairlead.core.requirement import Requirement
from fairlead.errors import FairleadError
from fairlead.monitor.meter import Key, Listener, Meter
from fairlead.monitor.promise import Finding, Watchpoint, is_watched, judge, measured
from fairlead.monitor.statistics import statistics
from fairlead.monitor.window import Summary, Window

_FOLD_S = 0.5  # an idle server's last requests are counted, traced and logged this soon


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class WatchJob:
    """`promises` gives a version's requirements by name and number; `on_finding` is told when a finding opens or closes; `listeners` are
    told every observation, in groups; `on_defect` is told the trace of a mistake of ours, which fails no request.
    """

    promises: Callable[[str, int], Sequence[Requirement]]
    on_finding: Callable[[Finding], None]
    window_s: float = 300.0
    interval_s: float = 5.0
    capacity: int = 20_000
    clock: Clock = time.time
    listeners: tuple[Listener, ...] = ()
    on_defect: Callable[[str], None] = _silent


def watch(job: WatchJob) -> Watcher:
    """Return a running watcher, an ObservationSink; close it when the server has stopped."""
    watcher = Watcher(job)
    watcher.start()
    return watcher


class Watcher:
    """What `watch` returns. `record` and `record_batch` are called by one thread; everything else may be called by any."""

    def __init__(self, job: WatchJob) -> None:
        self._job = job
        self.meter = Meter(job.window_s, job.capacity, job.listeners, job.on_defect)
        self.record = self.meter.record
        self.record_batch = self.meter.record_batch
        self._points: dict[Key, list[Watchpoint]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="fairlead-watch", daemon=True)

    def start(self) -> None:
        """Begin to review."""
        self._thread.start()

    def close(self) -> None:
        """Stop reviewing; what is in the buffer is counted. Idempotent."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.meter.fold()

    def summary(self, model: str, version: int) -> Summary:
        """Return what the version did in the window; zeros and NaN for one that was not asked yet."""
        tally = self.meter.tallies().get((model, version))
        with self.meter.lock:
            if tally is None:
                return Window(self._job.window_s, 1).summary(self._job.clock())
            tally.settle()
            return tally.window.summary(self._job.clock())

    def statistics(self, model: str, version: int) -> dict[str, object]:
        """Return the version's entry of the statistics extension of the V2 protocol."""
        tally = self.meter.tallies().get((model, version))
        with self.meter.lock:
            if tally is not None:
                tally.settle()
            return statistics(model, version, tally)

    def broken_count(self, model: str, version: int) -> int:
        """Return how many promises of the version have an open finding."""
        return sum(point.is_open for point in self._points.get((model, version), ()))

    def review(self) -> tuple[Finding, ...]:
        """Judge every promise once and return the findings that opened or closed."""
        now = self._job.clock()
        findings: list[Finding] = []
        tallies = self.meter.tallies()
        before = self._points
        self._points = {key: before[key] if key in before else self._promised(*key) for key in tallies}
        for (model, number), points in self._points.items():
            for place, point in enumerate(points):
                with self.meter.lock:
                    tallies[model, number].settle()
                    value, count = measured(point.requirement, tallies[model, number].window, now)
                points[place], has_changed = judge(point, value, count)
                if has_changed:
                    findings.append(Finding(model, number, point.requirement, value, count, is_closed=point.is_open))
        return tuple(findings)

    def _promised(self, model: str, number: int) -> list[Watchpoint]:
        try:
            return [Watchpoint(requirement) for requirement in self._job.promises(model, number) if is_watched(requirement)]
        except FairleadError:
            return []  # a version whose record cannot be read has promised nothing that could be judged

    def _work(self) -> None:
        """Count what is left over every half second, and review every interval."""
        due = time.monotonic() + self._job.interval_s
        while not self._stopped.wait(min(_FOLD_S, self._job.interval_s)):
            self.meter.fold()
            if time.monotonic() >= due:
                due = time.monotonic() + self._job.interval_s
                for finding in self.review():
                    self._job.on_finding(finding)
