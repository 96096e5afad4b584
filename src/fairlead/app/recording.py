"""Writes down what a server answers: from the buffer beside the data plane, through redaction, into the observation log.

Takes a House; gives a buffer for the data plane and a place for late labels. Two threads of its own work: one makes columns of answers, a
few hundred at a time, and one writes files. Never raises and never makes the server wait: while the log's disk is full, away or hanging,
answers are dropped and counted, the log of the server says so once, and writing resumes by itself.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from fairlead.app.observation_upkeep import Upkeep
from fairlead.app.observations import check_log, may_hold_any, open_log_writer
from fairlead.app.observing_rules import check_share
from fairlead.app.recording_rules import Redactors, Rulebook
from fairlead.app.wiring import House
from fairlead.core.interface import Array
from fairlead.core.observation_log import ObservationWriter, ObservedRows, RecordCounts, RecordReading, RowLabel
from fairlead.core.traffic_event import Joining, LateLabel
from fairlead.errors import FairleadError
from fairlead.serve.record import AnswerBuffer, Entry
from fairlead.serve.record_columns import Columns
from fairlead.serve.record_rows import Batch, Joined, batch_of, batches
from fairlead.serve.traffic_witness import TrafficCounter

_PIECE = 256  # answers that become columns at once: half a millisecond
_TICK_S = 0.25  # a look costs as much as leaving a hundred answers
_BREATH_S = 0.0002  # long enough for another thread to take its turn
_ROWS_LIMIT = 32_768  # of a file
_BYTES_LIMIT = 16 * 2**20
_HELD_BYTES = 128 * 2**20  # columns that wait to be written, of all models
_LABEL_LIMIT = 1_000_000  # labels that wait to be written
_LABEL_S = 1.0
_FIRST_S = 1.0  # how long an answer waits for others where none was written lately: who asks and then looks finds it
_REVIEW_S = 3.0
_PRUNE_S = 300.0
_CLOSE_S = 5.0
_LAST_S = 1.0  # how long what was not handed over is waited for at the end


def breathe() -> None:
    """Let other threads have their turn."""
    time.sleep(_BREATH_S)


@dataclass
class Parcel:
    """Batches of one version that are written together."""

    since: float
    share: float
    batches: list[Batch] = field(default_factory=list)
    rows: int = 0
    requests: int = 0
    size_bytes: int = 0

    def add(self, batch: Batch, size_bytes: int) -> None:
        """Add a batch of the same version, asked for the same outputs."""
        self.batches.append(batch)
        self.rows += batch.row_count
        self.requests += batch.request_count
        self.size_bytes += size_bytes


def _open_log(house: House) -> ObservationWriter:
    return open_log_writer(house, breathe)


class Recording:
    """Records what one server answers. Call `start` once and `close` at the end."""

    def __init__(
        self, house: House, report: Callable[[str], None], *, share: float, open_log: Callable[[House], ObservationWriter] = _open_log
    ) -> None:
        self._house, self._open_log, self._report, self._clock = house, open_log, report, house.clock
        self._flush_s = house.settings.observe_flush_s
        self._rulebook = Rulebook(house, share)
        self._upkeep = Upkeep(house, report)
        self._redactors = Redactors(house, self._rulebook, breathe)
        self.buffer = AnswerBuffer(self._rulebook.share_of)
        self._growing: dict[tuple[object, ...], Parcel] = {}
        self._ripened_at: dict[tuple[object, ...], float] = {}  # lately
        self._ready: deque[Parcel] = deque()
        self._labels: deque[tuple[str, list[RowLabel]]] = deque()
        # Each of these numbers is written by one thread alone.
        self._labels_taken = self._labels_kept = self._bytes_taken = self._bytes_let_go = 0
        self._dropped, self._written, self._failed = Counter[str](), Counter[str](), Counter[str]()
        self._log_bytes = float("nan")
        self._is_failing = False
        self._changed = threading.Condition()
        self._is_closing = False
        self._collector = threading.Thread(target=self._collect, name="fairlead-record", daemon=True)
        self._writer = threading.Thread(target=self._write, name="fairlead-write", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._collector.start()
        self._writer.start()

    def close(self) -> None:
        """Write what waits, for a few seconds at most. What then is not written is lost, and counted by nobody any more."""
        self._is_closing = True
        self.buffer.end()
        until = time.monotonic() + _CLOSE_S
        self._collector.join(_CLOSE_S)
        with self._changed:
            self._changed.notify()
        self._writer.join(max(until - time.monotonic(), 0.1))

    def read(self) -> RecordReading:
        """Return what became of the answers so far. Called by any thread."""
        counts = {
            name: RecordCounts(lane.observed, lane.unsampled, lane.dropped + self._dropped[name], self._written[name], self._failed[name])
            for name, lane in self.buffer.lanes().items()
        }
        return RecordReading(counts, self.buffer.waiting_bytes + self._bytes_taken - self._bytes_let_go, self._log_bytes)

    def keep_labels(self, model: str, labels: Sequence[LateLabel]) -> bool:
        """Take labels that came late, to be written within a second, and return whether there was room. Called in the event loop."""
        at = self._clock()
        rows = [RowLabel(item.request_id, place, label, at) for item in labels for place, label in enumerate(item.labels)]
        if self._labels_taken - self._labels_kept + len(rows) > _LABEL_LIMIT:
            self._tell_failure("so many labels wait that newer ones are lost.")
            return False
        self._labels_taken += len(rows)
        self._labels.append((model, rows))
        return True

    # The first thread: answers to columns.

    def _collect(self) -> None:
        idle_since = ended_at = time.monotonic()
        while True:
            is_last = self._is_closing  # asked before the buffer is emptied: what came until then is not forgotten
            taken, entries = self.buffer.drain(_PIECE)
            self._tell_defect()
            now = time.monotonic()
            if taken or entries:
                idle_since = ended_at = now
                self._take_in(taken, entries, now)
            has_all = is_last and (not self.buffer.has_any or now - ended_at > _LAST_S)
            self._ripen(now, is_all=has_all)
            if has_all:
                return
            if taken or entries:
                breathe()
                continue
            self.buffer.collect()
            if is_last or now - idle_since < 1.0 or self._growing:
                self.buffer.pause(_TICK_S)
            else:
                self.buffer.wait(60.0)

    def _take_in(self, taken: Sequence[Columns], entries: Sequence[Entry], now: float) -> None:
        what = "Observing requests failed."
        for columns in taken:
            if not self._guarded(what, partial(self._gather, [columns], (), now)):
                self._dropped[columns.version.name] += columns.count
        if entries and not self._guarded(what, partial(self._gather, (), entries, now)):
            self._dropped.update(observation.model for observation, _, _ in entries)

    def _gather(self, taken: Sequence[Columns], entries: Sequence[Entry], now: float) -> None:
        for batch in (*map(batch_of, taken), *batches(entries)):
            name, size_bytes = batch.version.name, batch.size_bytes
            if self._bytes_taken - self._bytes_let_go + size_bytes > _HELD_BYTES:
                self._dropped[name] += batch.request_count
                continue
            share = self._rulebook.share_of(name)
            key = (name, batch.version.number, tuple(batch.outputs), share)
            parcel = self._growing.get(key)
            if parcel is None:
                parcel = self._growing[key] = Parcel(now, share)
            parcel.add(batch, size_bytes)
            self._bytes_taken += size_bytes

    def _ripen(self, now: float, *, is_all: bool) -> None:
        """Hand over to the second thread what is old or large enough."""
        self._ripened_at = {key: at for key, at in self._ripened_at.items() if now - at < self._flush_s}
        for key, parcel in list(self._growing.items()):
            is_old = now - parcel.since >= (self._flush_s if key in self._ripened_at else min(_FIRST_S, self._flush_s))
            if is_all or is_old or parcel.rows >= _ROWS_LIMIT or parcel.size_bytes >= _BYTES_LIMIT:
                del self._growing[key]
                self._ripened_at[key] = now
                with self._changed:
                    self._ready.append(parcel)
                    self._changed.notify()

    # The second thread: columns to files.

    @cached_property
    def _log(self) -> ObservationWriter:
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own pool keeps what a file took: 15 MB, for the next one
        return self._open_log(self._house)

    def _write(self) -> None:
        review_at = prune_at = time.monotonic()
        while True:
            with self._changed:
                if not self._ready and not (self._is_closing and not self._collector.is_alive()):
                    self._changed.wait(_LABEL_S)
            if not self._ready and self._is_closing and not self._collector.is_alive():
                self._write_labels()
                self._upkeep.close()
                return
            while self._ready:
                parcel = self._ready.popleft()
                self._guarded("Writing observations failed.", partial(self._store, parcel))
            self._write_labels()
            now = time.monotonic()
            if now >= review_at:
                review_at = now + _REVIEW_S
                self._guarded("Reading the rules for observations failed.", self._review)
            if now >= prune_at:
                prune_at = now + _PRUNE_S
                self._guarded("Removing old observations failed.", self._prune)

    def _store(self, parcel: Parcel) -> None:
        became = self._failed
        try:
            self._log.append(self._rows(parcel))
            became = self._written
        finally:
            became[parcel.batches[0].version.name] += parcel.requests
            self._bytes_let_go += parcel.size_bytes
        self._tell_success()

    def _rows(self, parcel: Parcel) -> ObservedRows:
        """Return what may be kept of a parcel."""
        first = parcel.batches[0]
        facts = _facts(parcel.batches)
        inputs = {name: _together([batch.inputs[name] for batch in parcel.batches]) for name in first.inputs}
        outputs = {name: _together([batch.outputs[name] for batch in parcel.batches]) for name in first.outputs}
        kept = self._redactors.of(first.version, first.interface).columns(inputs, outputs)
        more = {
            "version": np.full(parcel.rows, first.version.number, np.int32),
            "share": np.full(parcel.rows, parcel.share, np.float32),
        }
        return ObservedRows(first.version.name, first.version.number, facts | more | kept)

    def _write_labels(self) -> None:
        while self._labels:
            model, rows = self._labels[0]
            try:
                self._log.add_labels(model, rows)
            except FairleadError as error:
                self._tell_failure(str(error))
                return  # they wait: a label is worth more than a request
            self._labels.popleft()
            self._labels_kept += len(rows)
            self._tell_success()

    def _review(self) -> None:
        if self._rulebook.read():
            self._redactors.forget()
            self.buffer.refresh()

    def _prune(self) -> None:
        if may_hold_any(self._house):
            self._log_bytes = self._rulebook.prune(self._log)
            self._upkeep.start_where_due()

    # What is told.

    def _tell_failure(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._report(f"Observations cannot be written: {reason} Answers are not affected; what is lost is counted.")

    def _tell_defect(self) -> None:
        defect = self.buffer.take_defect()
        if defect:
            self._report(f"Leaving an answer to be observed failed; it was given.\n{defect}")

    def _tell_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._report(f"Observations are written again; {sum(self._failed.values())} requests were lost in all.")

    def _guarded(self, what: str, act: Callable[[], None]) -> bool:
        """Act, and return whether that went well."""
        try:
            act()
        except FairleadError as error:
            self._tell_failure(str(error))
        except Exception:  # noqa: BLE001 - a mistake of ours in one parcel must not end the writing of all that come after
            self._report(f"{what}\n{traceback.format_exc()}")
        else:
            return True
        return False


class LabelKeeper(TrafficCounter):
    """A TrafficWitness that also has late labels written down."""

    def __init__(self, recording: Recording, on_defect: Callable[[str], None]) -> None:
        super().__init__(on_defect=on_defect)
        self._recording = recording

    def join(self, model: str, labels: Sequence[LateLabel]) -> Joining:
        """Compare late labels with the answers of a release, and keep them, those too that are of no release."""
        are_kept, found = self._recording.keep_labels(model, labels), super().join(model, labels)
        return replace(found, unknown=0, kept=found.unknown) if are_kept else found


@contextmanager
def recording(house: House, report: Callable[[str], None], *, is_on: bool, share: float | None = None) -> Iterator[Recording | None]:
    """Record while the context lasts, where that is on; what waits at its end is written, for a few seconds at most."""
    wanted = check_share(house.settings.observe_share if share is None else share)
    if not is_on:
        yield None
        return
    check_log(house)
    recorder = Recording(house, report, share=wanted)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close()


def _facts(batches: Sequence[Batch]) -> dict[str, Array]:
    """Return what is known of the requests of several batches."""
    found: dict[str, Array] = {}
    for name in batches[0].facts:
        parts = [batch.facts[name] for batch in batches]
        if len({part.dtype for part in parts}) > 1:  # ids, fixed-width in some of them: joined as they are, they would be padded
            parts = [np.array([item.decode() for item in part.tolist()], object) if part.dtype.kind == "S" else part for part in parts]
        found[name] = np.concatenate(parts)
    return found


def _together(parts: Sequence[Joined]) -> Joined:
    """Return the tensors of several batches as one, or as a list where the shapes of rows differ. Tables are laid out by columns."""
    arrays = [part for part in parts if not isinstance(part, list)]
    if len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1:
        if arrays[0].ndim != 2 or len({array.dtype for array in arrays}) > 1:
            return np.concatenate(arrays)
        rows = sum(map(len, arrays))
        return np.concatenate(arrays, out=np.empty((rows, arrays[0].shape[1]), arrays[0].dtype, order="F"))
    return [array for part in parts for array in (part if isinstance(part, list) else [part])]
