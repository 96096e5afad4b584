"""The server's log: sentences for people or JSON for machines, about the server and about requests that failed or were slow.

Takes sentences and observations; gives lines to `write`, in a thread of its own, and makes nobody wait for it (see `pipe`). A line is one
line whatever a client sent: control characters are escaped. It holds no bodies, no tensors and no headers. So many failed and slow requests
a second are told one by one, the others counted.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from fairlead.core.observation import Observation
from fairlead.core.ports import Clock
from fairlead.monitor.pipe import Pipe
from fairlead.monitor.trace_parent import read_parent

_CAPACITY = 4096  # lines that wait at most
_LINE_CHARACTERS = 8192
_CLOSE_S = 1.0
_REQUESTS_PER_S = 20  # failed and slow ones that get a line each
# C0, DEL and C1 controls, line and paragraph separators, and what turns the direction of text around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
Field: TypeAlias = str | int | float


@dataclass(frozen=True)
class LogJob:
    """`write` takes one whole line, may block and may raise OSError. `slow_ms` is from when on a request is slow; 0: none is."""

    write: Callable[[str], None]
    is_json: bool = False
    is_access_logged: bool = False
    slow_ms: float = 1000.0
    clock: Clock = time.time


class EventLog:
    """A log; close it at the end."""

    def __init__(self, job: LogJob) -> None:
        self._job = job
        self.pipe: Pipe[str] = Pipe("log", self._send, capacity=_CAPACITY, group=64)
        self._second = 0  # the one that `_told` counts
        self._told = 0
        self._untold: Counter[str] = Counter()

    def say(self, sentence: str) -> None:
        """Log a sentence about the server; lines behind the first are a trace."""
        self.event("server", sentence)

    def event(self, event: str, sentence: str, fields: Mapping[str, Field] | None = None, *, level: str = "info") -> None:
        """Log an event: a name for machines, a sentence for people, and what belongs to it."""
        self.pipe.put([self._line(event, sentence, fields or {}, level, self._job.clock())])

    def take(self, observations: Sequence[Observation]) -> None:
        """Log requests that failed or were slow; each one where access is logged."""
        if self._job.is_access_logged:
            self.pipe.put([self._request_line(item) for item in observations])
            return
        slow_ms = self._job.slow_ms or float("inf")
        lines = []
        for item in observations:
            if item.error_code or item.queue_ms + item.compute_ms >= slow_ms:
                if int(item.at) != self._second:
                    lines += self._untold_line(item.at)
                    self._second, self._told = int(item.at), 0
                self._told += 1
                if self._told <= _REQUESTS_PER_S:
                    lines.append(self._request_line(item))
                else:
                    self._untold[item.error_code or "slow"] += 1
        if lines:
            self.pipe.put(lines)

    def close(self) -> None:
        """Write what waits, as far as that is possible within a second."""
        if self._untold:
            self.pipe.put(self._untold_line(self._job.clock()))
        self.pipe.close(_CLOSE_S)

    def _untold_line(self, at: float) -> list[str]:
        if not self._untold:
            return []
        counts = ", ".join(f"{count} {code}" for code, count in self._untold.most_common())
        fields = dict(self._untold)
        self._untold.clear()
        return [self._line("requests_untold", f"More requests like these, not told one by one: {counts}.", fields, "warning", at)]

    def _request_line(self, item: Observation) -> str:
        spent_ms = item.queue_ms + item.compute_ms
        is_slow = bool(self._job.slow_ms) and spent_ms >= self._job.slow_ms
        outcome = f"failed: {item.error_code}" if item.error_code else "was slow" if is_slow else "was answered"
        level = "warning" if item.error_code or is_slow else "info"
        sentence = f"Request {item.request_id} to {item.model}:{item.version} {outcome} ({spent_ms:.1f} ms, {item.rows} rows)."
        fields: dict[str, Field] = {
            "request_id": item.request_id,
            "model": item.model,
            "version": item.version,
            "transport": item.transport or "local",
            "code": item.error_code or "ok",
            "rows": item.rows,
            "batch_rows": item.batch_rows,
            "queue_ms": round(item.queue_ms, 3),
            "compute_ms": round(item.compute_ms, 3),
        }
        parent = read_parent(item.trace) if item.trace else None
        if parent is not None:
            fields["trace_id"] = parent.trace_id.hex()
        return self._line("request", sentence, fields, level, item.at)

    def _line(self, event: str, sentence: str, fields: Mapping[str, Field], level: str, at: float) -> str:
        if self._job.is_json:
            stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            message = sentence[:_LINE_CHARACTERS]
            return json.dumps({"time": stamp, "level": level, "event": event, "message": message, **fields})  # ASCII: all is escaped
        return "\n    ".join(_UNSAFE.sub(_escape, line) for line in sentence[:_LINE_CHARACTERS].split("\n"))

    def _send(self, lines: Sequence[str]) -> int:
        for count, line in enumerate(lines):
            try:
                self._job.write(line)
            except OSError:
                return count
        return len(lines)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
