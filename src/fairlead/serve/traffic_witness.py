"""Counts what the requests of releases show: evidence for the gate, numbers for metrics, answers for late labels.

Takes events from the data plane, in the event loop's thread, in a fraction of a microsecond each; they are counted a few hundred at a time,
or when somebody asks. Gives evidence and readings to any thread. Raises RequestError for late labels that cannot be compared, and nothing
else. What it holds is bounded: releases, rows remembered, events waiting.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from fairlead.core.evidence import ArmCounter, Outcome, ReleaseCounter, ReleaseEvidence
from fairlead.core.traffic_event import Answered, Compared, ComparisonKind, Gap, Joining, LateLabel, Missed, TrafficReading
from fairlead.serve.traffic_memory import AnswerMemory, Remembered, check_labels, decisions_of, right_count

_FOLD_COUNT = 256
_HELD_BYTES = 16 * 2**20  # of answers that wait to be counted
_RELEASE_LIMIT = 64  # those that were asked longest ago go
_ROW_LIMIT = 100_000
_NOT_TRIED = frozenset({Gap.BUSY, Gap.LATE, Gap.LOADING, Gap.ASLEEP})
_SOON = frozenset({Gap.LOADING, Gap.ASLEEP})  # the arm will answer in a moment: that is no failure of the version

_OK, _CLIENT = Outcome.OK, Outcome.CLIENT  # an attribute of an enum costs as much as the comparison
Event = Answered | Compared | Missed


def _silent(_: str) -> None:
    """Tell nobody."""


class _Arm:
    """The answers of one arm in one step; `evidence` is None for those that were not drawn."""

    __slots__ = ("client", "evidence", "ok", "server")

    def __init__(self, evidence: ArmCounter | None) -> None:
        self.evidence = evidence
        self.ok = self.client = self.server = 0


class _Counted:
    """One release of a model, or its requests without any. `arms` by name, version, step, and whether they were drawn."""

    def __init__(self, model: str, release: str) -> None:
        self.model = model
        self.evidence = ReleaseCounter(release)
        self.arms: dict[tuple[str, int, int, bool], _Arm] = {}
        self.fallbacks: Counter[tuple[str, ...]] = Counter()
        self.comparisons: Counter[tuple[str, ...]] = Counter()
        self.flips: Counter[tuple[str, ...]] = Counter()
        self.dropped: Counter[tuple[str, ...]] = Counter()
        self.differences: dict[tuple[str, ...], float] = {}


class TrafficCounter:
    """A TrafficWitness. `row_limit` bounds the rows whose decisions are remembered for late labels; `on_defect` is told the trace of a
    mistake of ours, which fails no request.
    """

    def __init__(self, row_limit: int = _ROW_LIMIT, on_defect: Callable[[str], None] = _silent) -> None:
        self._on_defect = on_defect
        self._events: deque[Event] = deque()
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._counted: OrderedDict[tuple[str, str], _Counted] = OrderedDict()
        self._memory = AnswerMemory(row_limit)
        self._labels: Counter[tuple[str, ...]] = Counter()

    def answered(self, answered: Answered) -> None:
        """Take one request that was divided."""
        if answered.outputs is not None:
            for array in answered.outputs.values():
                self._held_bytes += array.nbytes
        self._take(answered)

    def compared(self, compared: Compared) -> None:
        """Take one request that was answered twice."""
        self._take(compared)

    def missed(self, missed: Missed) -> None:
        """Take one request that was not compared, or not answered by its arm."""
        self._take(missed)

    def _take(self, event: Event) -> None:
        events = self._events
        events.append(event)
        if (len(events) >= _FOLD_COUNT or self._held_bytes >= _HELD_BYTES) and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def ended(self, model: str) -> None:
        """Forget the answers of a model whose release has ended."""
        with self._lock:
            self._fold()
            self._memory.forget(model)

    def check(self, model: str, labels: Sequence[LateLabel]) -> None:
        """Raise RequestError where a label cannot be compared with the answer that it is for."""
        with self._lock:
            self._fold()
            for label in labels:
                answer = self._memory.find(model, label.request_id)
                if answer is not None and not answer.is_ambiguous:
                    check_labels(answer, label)

    def join(self, model: str, labels: Sequence[LateLabel]) -> Joining:
        """Compare late labels, which `check` has let through, with the answers, and say what became of them."""
        with self._lock:
            self._fold()
            results = Counter(self._join(model, self._memory.find(model, label.request_id), label) for label in labels)
            for result, count in results.items():
                self._labels[model, result] += count
        return Joining(**results)

    def _join(self, model: str, answer: Remembered | None, label: LateLabel) -> str:
        if answer is None or len(answer.decisions) != len(label.labels):  # the latter was answered after it was checked
            return "unknown"
        if answer.is_ambiguous:
            return "ambiguous"
        if answer.is_labelled:
            return "duplicate"
        answer.is_labelled = True
        counted = self._counted.get((model, answer.release))
        if counted is not None and answer.is_drawn:
            right, arm = right_count(answer, label.labels), counted.evidence.arm(answer.step, answer.arm)
            for place in range(len(label.labels)):
                arm.labelled(is_right=place < right)
        return "joined"

    def snapshot(self) -> Mapping[str, ReleaseEvidence]:
        """Return release id -> what its requests showed in this process so far."""
        with self._lock:
            self._fold()
            return {release: counted.evidence.read() for (_, release), counted in self._counted.items() if release}

    def read(self) -> TrafficReading:
        """Return the counts of each model's newest release, for metrics."""
        with self._lock:
            self._fold()
            newest = {counted.model: counted for counted in self._counted.values()}.values()  # those asked last stand last
            return TrafficReading(
                requests=_merged(map(_requests, newest)),
                fallbacks=_merged(item.fallbacks for item in newest),
                comparisons=_merged(item.comparisons for item in newest),
                flips=_merged(item.flips for item in newest),
                differences={key: value for item in newest for key, value in item.differences.items()},
                dropped=_merged(item.dropped for item in newest),
                labels=dict(self._labels),
            )

    # Counting.

    def _fold(self) -> None:
        events, self._held_bytes = self._events, 0
        for _ in range(len(events)):  # another thread may be adding to its other end
            event = events.popleft()
            try:
                self._count(event)
            except Exception:  # noqa: BLE001 - whoever records is answering a request, which has nothing to do with it
                self._on_defect(f"Counting what a release showed failed.\n{traceback.format_exc()}")

    def _count(self, event: Event) -> None:
        counted = self._of(event.model, event.release)
        if isinstance(event, Answered):
            self._count_answer(counted, event)
        elif isinstance(event, Compared):
            _count_comparison(counted, event)
        else:
            _count_gap(counted, event)

    def _of(self, model: str, release: str) -> _Counted:
        key = (model, release)
        counted = self._counted.get(key)
        if counted is None:
            if len(self._counted) >= _RELEASE_LIMIT:
                self._counted.popitem(last=False)
            counted = self._counted[key] = _Counted(model, release)
        elif next(reversed(self._counted)) != key:
            self._counted.move_to_end(key)
        return counted

    def _count_answer(self, counted: _Counted, event: Answered) -> None:
        key = (event.arm, event.version, event.step, event.is_drawn)
        arm, outcome = counted.arms.get(key), event.outcome
        if arm is None:
            arm = counted.arms[key] = _Arm(counted.evidence.arm(event.step, event.arm) if event.is_drawn else None)
        if outcome is _OK:
            arm.ok += 1
        elif outcome is _CLIENT:
            arm.client += 1
        else:
            arm.server += 1
        if arm.evidence is not None:
            arm.evidence.answered(event.latency_ns, outcome)
        if event.outputs is None or event.interface is None or not event.release:
            return
        decisions = decisions_of(event.interface, event.outputs)
        if decisions is not None:
            answer = Remembered(event.release, event.step, event.arm, event.is_drawn, decisions, event.interface)
            self._memory.keep(event.model, (event.request_id, event.own_id), answer)


def _count_comparison(counted: _Counted, event: Compared) -> None:
    key = (event.model, str(event.version), event.kind.value)
    counted.comparisons[key] += 1
    counted.flips[key] += event.is_flip
    counted.differences[key] = max(counted.differences.get(key, 0.0), event.largest_difference)
    if event.is_evidence:
        pairs = counted.evidence.shadow if event.kind is ComparisonKind.SHADOW else counted.evidence.twin
        pairs(event.step).compared(
            is_flip=event.is_flip,
            difference=event.largest_difference,
            latency_ns=event.latency_ns,
            live_latency_ns=event.live_latency_ns,
        )


def _count_gap(counted: _Counted, event: Missed) -> None:
    if event.kind is None:
        counted.fallbacks[event.model, event.arm, str(event.version), event.gap.value] += 1
        if event.is_evidence and event.gap not in _SOON:  # it was drawn for an arm that did not answer it
            counted.evidence.arm(event.step, event.arm).answered(0, Outcome.SERVER)
        return
    counted.dropped[event.model, str(event.version), event.kind.value, event.gap.value] += 1
    if event.is_evidence:
        pairs = (counted.evidence.shadow if event.kind is ComparisonKind.SHADOW else counted.evidence.twin)(event.step)
        (pairs.dropped if event.gap in _NOT_TRIED else pairs.failed)()


def _requests(counted: _Counted) -> Counter[tuple[str, ...]]:
    total: Counter[tuple[str, ...]] = Counter()
    for (name, version, _, _), arm in counted.arms.items():
        for outcome, count in (("ok", arm.ok), ("client", arm.client), ("server", arm.server)):
            if count:
                total[counted.model, name, str(version), outcome] += count
    return total


def _merged(counters: Iterable[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], int]:
    return {key: count for counter in counters for key, count in counter.items()}
