"""The server's log: sentences for people or JSON for machines, about the server and about requests that failed or were slow.

Takes sentences, observations and refusals; gives lines to `write`, in a thread of its own, and makes nobody wait for it (see `pipe`). A
line is one line whatever a client sent: control characters are escaped. It holds no bodies, no tensors and no headers. So many requests a
second that failed or were slow are told one by one, and as many that were refused; the others are counted.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from fairlead.core.observation import Observation
from fairlead.core.ports import Clock
from fairlead.core.refusal import Refusal
from fairlead.monitor.pipe import Pipe
from fairlead.monitor.ration import Ration
from fairlead.monitor.trace_parent import read_parent

_CAPACITY = 4096  # lines that wait at most
_LINE_CHARACTERS = 8192
_CLOSE_S = 1.0
_REQUESTS_PER_S = 20  # that get a line each
_ASKED_CHARACTERS = 256
# What a transport refuses as its caller's mistake comes with its sentence, as a Refusal; what a call in this process gets wrong does not.
_REFUSED_CODES = frozenset({"bad_input", "bad_data", "bad_request", "too_large", "unsupported", "not_found", "conflict"})
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
        self._failed, self._refused = (Ration(_REQUESTS_PER_S, self._say_untold) for _ in range(2))

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
            if not item.error_code and item.queue_ms + item.compute_ms < slow_ms:
                continue
            if item.transport and item.error_code in _REFUSED_CODES:
                continue
            if self._failed.allows(item.error_code or "slow", item.at):
                lines.append(self._request_line(item))
        if lines:
            self.pipe.put(lines)

    def refused(self, refusal: Refusal) -> None:
        """Log a request that was its caller's mistake; may be called from any thread."""
        at = self._job.clock()
        if not (self._job.is_access_logged or self._refused.allows(refusal.status, at)):
            return
        asked = refusal.asked[:_ASKED_CHARACTERS]
        who = f"Request {refusal.request_id}" if refusal.request_id else "A request"
        fields: dict[str, Field] = {
            "request_id": refusal.request_id,
            "transport": refusal.transport,
            "asked": asked,
            "status": refusal.status,
            "reason": refusal.sentence,
        }
        sentence = f"{who} refused: {refusal.status} for {asked or 'what it began with'}: {' '.join(refusal.sentence.split())}"
        self.pipe.put([self._line("request_refused", sentence, fields, "warning", at)])

    def close(self) -> None:
        """Write what waits, as far as that is possible within a second."""
        for ration in (self._failed, self._refused):
            ration.close(self._job.clock())
        self.pipe.close(_CLOSE_S)

    def _say_untold(self, counts: Mapping[str, int], at: float) -> None:
        told = ", ".join(f"{count} {code}" for code, count in counts.items())
        line = self._line("requests_untold", f"More requests like these, not told one by one: {told}.", counts, "warning", at)
        self.pipe.put([line])

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
