"""Events to answered requests: whose they are, which belong together, what they say; then they are left in the buffer like our own answers.

Takes CloudEvents, in the event loop; leaves answers in an AnswerBuffer and labels with whoever keeps them, and counts what became of each
event. Raises RequestError, NotFoundError, ConflictError for an event that cannot be used, which is counted and forgotten: nothing an event
holds ends the collector. What waits for its other half is bounded (see `pairing`); a request whose answer never comes is kept without one.
"""

from __future__ import annotations

import asyncio
import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from fairlead.core.cloud_event import CloudEvent, EventKind
from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.core.observation import Observation
from fairlead.core.ports import Clock
from fairlead.core.traffic_event import LateLabel
from fairlead.errors import FairleadError, RequestError
from fairlead.serve.collect.pairing import Fate, Half, Pairs
from fairlead.serve.collect.payload import Decoded, Read, decode_payload, is_packed, read_answer, read_question, said_version
from fairlead.serve.collect.seldon import seldon_label
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.record_answer import Answer, Answerer

T = TypeVar("T")
Taker: TypeAlias = Callable[[Observation, Answer], None]
ROUTE = "collected"
UNANSWERED = "unanswered"
_BESIDE_BYTES = 2**18  # what is larger is read in a thread, one at a time
_AT_ONCE = 64  # halves that are given up before others have their turn
_TELL_S = 60.0
_AHEAD_S, _BEHIND_S = 300.0, 7 * 86_400.0  # how far an event's clock may be from ours


class Watched(Protocol):
    """A registered model that answers elsewhere."""

    @property
    def model(self) -> str:
        """Its registered name."""
        ...

    async def answerer(self, request: CloudEvent, said: str) -> Answerer:
        """Return the version that answered `request`; `said` is what the answer calls it. Raises NotFoundError, StorageError."""
        ...


class Sources(Protocol):
    """Who is watched."""

    def find(self, event: CloudEvent) -> Watched | None:
        """Return whose event it is; None for a part of a service that is no model. Raises NotFoundError for a service that nobody named,
        ConflictError where it cannot be told.
        """
        ...


@dataclass(frozen=True)
class CollectorJob:
    """`take` is left answered requests, `keep_labels` right answers that came later (False: no room for them); `report` takes sentences
    for people. `clock` gives Unix seconds, `monotonic` seconds that only grow.
    """

    sources: Sources
    pairs: Pairs
    take: Taker
    keep_labels: Callable[[str, Sequence[LateLabel]], bool | None]
    limits: HttpLimits
    report: Callable[[str], None]
    clock: Clock = time.time
    monotonic: Clock = time.monotonic


class Question(NamedTuple):
    """What was asked elsewhere; `outputs` are those that were answered."""

    inputs: Tensors
    outputs: tuple[str, ...]
    own_id: str


class Collected(NamedTuple):
    """An answer that another server gave. Without outputs, none came."""

    request: Question
    served: Answerer
    rows: int
    outputs: dict[str, Array] | None
    ticket: None = None
    draw: None = None


class Collector:
    """`counts` says what became of events: (model, result) -> how many; the model is "" where nobody was meant."""

    def __init__(self, job: CollectorJob) -> None:
        self._job = job
        self._turn = asyncio.Lock()
        self._told: dict[tuple[str, str], float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def pairs(self) -> Pairs:
        """What waits for its other half."""
        return self._job.pairs

    async def take(self, event: CloudEvent) -> None:
        """Take one event; returns once what it completes is in the buffer."""
        try:
            watched = self._job.sources.find(event)
        except FairleadError:
            self.counts["", "refused"] += 1
            raise
        if watched is None:
            self.counts["", "ignored"] += 1
        elif event.kind is EventKind.FEEDBACK:
            self.counts[watched.model, "feedback"] += 1
            await self._guarded(watched, event, self._learn(watched, event))
        else:
            await self._offer(watched, event)

    async def tidy(self) -> None:
        """Give up what has waited too long."""
        while halves := self._job.pairs.expired(self._job.monotonic(), _AT_ONCE):
            await self._give_up(halves)

    async def finish(self, within_s: float) -> None:
        """Give up all that waits: nothing more comes. What is not read within the time is counted and forgotten."""
        until = self._job.monotonic() + within_s
        while halves := self._job.pairs.rest(1):
            if self._job.monotonic() < until:
                await self._give_up(halves)
            else:
                self.counts.update((half.watched.model, "unread") for half in halves)

    async def _offer(self, watched: Watched, event: CloudEvent) -> None:
        self.counts[watched.model, event.kind.value] += 1
        half = Half(event, watched, self._job.monotonic())
        offered = self._job.pairs.offer(half)
        if offered.crowded_out:
            self._tell(watched.model, "crowded out", "More halves of requests wait than there is room for: the oldest are given up.")
            await self._give_up(offered.crowded_out)
        if offered.fate in (Fate.REPEATED, Fate.LATE):
            self.counts[watched.model, offered.fate.value] += 1
        elif offered.other is not None:
            is_request = event.kind is EventKind.REQUEST
            request, answer = (half, offered.other) if is_request else (offered.other, half)
            await self._guarded(watched, event, self._keep(request, answer))

    async def _give_up(self, halves: Sequence[Half]) -> None:
        """Keep requests whose answers did not come, and forget answers whose requests did not."""
        for half in halves:
            if half.event.kind is EventKind.ANSWER:
                self.counts[half.watched.model, "unasked"] += 1
                continue
            try:
                await self._guarded(half.watched, half.event, self._keep(half, None))
            except FairleadError:
                continue  # counted and told; nobody waits for it any more
            except Exception:  # noqa: BLE001 - a mistake of ours in one event must not end the collecting of all others
                self.counts[half.watched.model, "failed"] += 1
                self._tell(half.watched.model, "failed", f"An event could not be kept.\n{traceback.format_exc()}")
        await asyncio.sleep(0)

    async def _guarded(self, watched: Watched, event: CloudEvent, work: Coroutine[Any, Any, None]) -> None:
        """Do what an event asks for; count and tell what cannot be done, and raise it."""
        try:
            await work
        except FairleadError as error:
            self.counts[watched.model, "unreadable"] += 1
            self._tell(watched.model, error.code, f"Request {shorten(event.request_id)} to {watched.model} cannot be kept: {error}")
            raise

    async def _keep(self, request: Half, answer: Half | None) -> None:
        """Read both halves and leave them in the buffer."""
        watched, limits = request.watched, self._job.limits
        given = None if answer is None else await self._beside(answer.event, partial(decode_payload, answer.event.data, limits))
        served = await watched.answerer(request.event, "" if given is None else said_version(given))
        asked = await self._beside(request.event, partial(_question, request.event.data, served.interface, limits))
        rows = len(next(iter(asked.tensors.values())))
        outputs = None
        if answer is not None and given is not None:
            outputs = await self._beside(answer.event, partial(_outputs, served.interface, given, rows))
        at, latency_s = self._times(request, answer)
        observation = Observation(
            request_id=request.event.request_id,
            model=watched.model,
            version=served.version.number,
            at=at + latency_s,
            rows=rows,
            queue_ms=0.0,
            compute_ms=latency_s * 1e3,
            error_code=UNANSWERED if outputs is None else "",
            transport=ROUTE,
        )
        self.counts[watched.model, UNANSWERED if outputs is None else "paired"] += 1
        question = Question(asked.tensors, tuple(outputs or ()), asked.own_id)
        self._job.take(observation, Collected(question, served, rows, outputs))

    def _times(self, request: Half, answer: Half | None) -> tuple[float, float]:
        """Return when the request came to the model, and what it took, in seconds: by the loggers' clocks where they make sense, else by
        when the events came.
        """
        now, at = self._job.clock(), request.event.at()
        if not now - _BEHIND_S <= at <= now + _AHEAD_S:
            at = now
        if answer is None:
            return at, 0.0
        latency_s = answer.event.at() - request.event.at()
        return at, latency_s if 0.0 <= latency_s <= _BEHIND_S else max(answer.came_at - request.came_at, 0.0)

    async def _learn(self, watched: Watched, event: CloudEvent) -> None:
        label = await self._beside(event, partial(_label, event, self._job.limits))
        if label is None:
            self.counts[watched.model, "reward only"] += 1
            return
        is_lost = self._job.keep_labels(watched.model, [label]) is False
        self.counts[watched.model, "labels lost" if is_lost else "labelled"] += 1

    async def _beside(self, event: CloudEvent, read: Callable[[], T]) -> T:
        """Read what an event holds at once, or where that is large, or may be, in a thread, so that others have their turns."""
        if len(event.data) <= _BESIDE_BYTES and not is_packed(event.data):
            return read()
        async with self._turn:
            return await asyncio.to_thread(read)

    def _tell(self, model: str, what: str, sentence: str) -> None:
        """Say something about a model, each kind once a minute at most."""
        now = self._job.monotonic()
        if now - self._told.get((model, what), -math.inf) >= _TELL_S:
            self._told[model, what] = now
            self._job.report(sentence)


def _question(data: bytes, interface: Interface, limits: HttpLimits) -> Read:
    return read_question(interface, decode_payload(data, limits))


def _label(event: CloudEvent, limits: HttpLimits) -> LateLabel | None:
    return seldon_label(decode_payload(event.data, limits).value, event.request_id)


def _outputs(interface: Interface, payload: Decoded, rows: int) -> dict[str, Array]:
    try:
        outputs = read_answer(interface, payload)
    except RequestError as error:  # what reads tensors calls them inputs
        raise RequestError(error.message.replace("Input '", "Output '"), hint=error.hint) from None
    for name, tensor in outputs.items():
        if len(tensor) != rows:
            raise RequestError(f"Output '{name}' has {len(tensor)} rows, its request has {rows}.")
    return outputs
