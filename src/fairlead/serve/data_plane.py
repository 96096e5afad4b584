"""The data plane: one inference request in, one response out, whatever transport brought it.

Takes `InferRequest`s; gives `InferResponse`s; tells an ObservationSink about each. Raises NotFoundError (no such model or version),
UnavailableError (loading or failed), RequestError (the tensors do not fit), OverloadedError (the model's places are taken, or the deadline
would pass before the request began), DeadlineError (it has passed) and what an engine raises. It knows no HTTP, no JSON and no status code,
and never lets a request see another one's rows. Cancelling a call frees its place at once.
"""

from __future__ import annotations

import math
import time
from asyncio import CancelledError, InvalidStateError
from collections.abc import Mapping

import msgspec

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.observation import Observation
from fairlead.core.ports import Clock, ObservationSink
from fairlead.errors import FairleadError, RequestError
from fairlead.serve.admission import check_place
from fairlead.serve.model_table import ModelTable, ServedModel, ServedVersion
from fairlead.serve.record import AnswerBuffer
from fairlead.serve.response_cache import Key, ResponseCache
from fairlead.serve.ticket import Ticket
from fairlead.serve.traffic_split import Draw


# A frozen msgspec.Struct is made five times as fast as a frozen dataclass, and one of each is made for every request.
class InferRequest(msgspec.Struct, frozen=True):
    """What is asked of a model. `version` None means the one that answers by default, or the one with `label`; no `outputs` means all.

    `priority` is that of the V2 protocol: 1 is the highest, 0 the default. `deadline` is in seconds of time.monotonic(): a request is not
    begun after it, and is answered with DeadlineError then. `trace` is a W3C traceparent. `own_id` is what the caller calls the request, ""
    for nothing; `metadata` is what came beside it, by lower-case name: HTTP headers, gRPC metadata.
    """

    model: str
    inputs: Tensors
    version: int | None = None
    outputs: tuple[str, ...] = ()
    request_id: str = ""
    parameters: Mapping[str, str | int | float | bool] = {}
    priority: int = 0
    deadline: float = math.inf
    transport: str = ""
    trace: str = ""
    label: str = ""
    own_id: str = ""
    metadata: Mapping[bytes, bytes] = {}


class InferResponse(msgspec.Struct, frozen=True):
    """The answer: which version gave it, and its outputs by name, which `interface` explains; `arm` is that of the release that divides
    requests, "" for none.
    """

    model: str
    version: int
    outputs: dict[str, Array]
    request_id: str = ""
    arm: str = ""
    interface: Interface | None = None


class DataPlane:
    """`queue_limit` is how many requests of one model wait or run at once; `timeout_s` bounds every request's deadline, 0: not at all.
    `cache` keeps answers of deterministic versions; `recorder` is left every answer with its tensors. `clock` gives Unix seconds for
    observations, `monotonic` the seconds of deadlines.
    """

    def __init__(
        self,
        table: ModelTable,
        sink: ObservationSink,
        *,
        queue_limit: int,
        timeout_s: float = 0.0,
        cache: ResponseCache | None = None,
        recorder: AnswerBuffer | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.table = table
        self.cache = cache
        self._sink = sink
        self._recorder = recorder
        self._queue_limit = queue_limit
        self._timeout_s = timeout_s or math.inf
        self._clock = clock
        self.monotonic = monotonic
        self.in_flight = 0

    async def infer(self, request: InferRequest, served: ServedVersion | None = None) -> InferResponse:
        """Return the answer to `request`; see the module for the errors. `served` is the version where that was found already, and kept."""
        if served is None:
            served = self.table.resolve(request.model, request.version, request.label)
        asked = await self._ask_asleep(request, served) if served.is_asleep else self.ask(request, served)
        ticket = asked.ticket
        if ticket is not None:
            try:
                await ticket
            finally:
                ticket.cancel()  # nothing where it is settled; else nobody waits for it any more
        return asked.response()

    def ask(self, request: InferRequest, served: ServedVersion) -> Asked:
        """Begin with a request to `served`, which is not asleep, or to the version that a release's split sends it to; its answer is there
        once its ticket is settled.
        """
        model = self.table.models.get(request.model) or self._gone(request)
        asked = Asked(self, request, served, model)
        if model.split is not None and request.version is None:
            asked.served, asked.draw = model.split.route(request, served)
        try:
            if not self._find(asked):
                self._admit(asked)
        except BaseException as error:
            self.observe(asked, _code_of(error))
            raise
        return asked

    async def _ask_asleep(self, request: InferRequest, served: ServedVersion) -> Asked:
        """Begin with a request to a version that gave its memory to others, and has to be woken."""
        model = self.table.models.get(request.model) or self._gone(request)
        asked = Asked(self, request, served, model)
        if model.split is not None and request.version is None:
            asked.served, asked.draw = model.split.route(request, served)
        try:
            if not self._find(asked):
                if asked.served.is_asleep:
                    await self._wake(asked)
                else:
                    self._admit(asked)
        except BaseException as error:
            self.observe(asked, _code_of(error))
            raise
        return asked

    def _gone(self, request: InferRequest) -> ServedModel:
        """Raise NotFoundError: the model was unloaded while a large body was read for it."""
        self.table.resolve(request.model)
        return self.table.models[request.model]

    def _find(self, asked: Asked) -> bool:
        """Check what is asked; returns whether the cache has the answer."""
        request, served, cache = asked.request, asked.served, self.cache
        asked.rows = served.interface.check_inputs(request.inputs)
        _check_request(served, request)
        if cache is None or not served.is_deterministic:
            return False
        began = self.monotonic()
        asked.key = cache.key(served.version.digest, request.inputs, request.outputs)
        asked.outputs = None if asked.key is None else cache.get(asked.key)
        asked.cache_ms = (self.monotonic() - began) * 1e3
        if asked.outputs is None:
            return False
        self.observe(asked, "")
        return True

    def _admit(self, asked: Asked) -> None:
        """Take a place. The counts are exact: one thread touches them, and nothing awaits between test and increment."""
        request, served, model = asked.request, asked.served, asked.model
        scheduler = served.scheduler
        if model.admitted >= self._queue_limit:
            check_place(model.name, model.admitted, self._queue_limit, scheduler.expected_wait_s())
        model.admitted += 1
        self.in_flight += 1
        self.table.begin_request(served)
        try:
            asked.ticket = scheduler.submit(
                request.inputs,
                request.outputs,
                asked.rows,
                priority=request.priority,
                deadline=request.deadline,
                timeout_s=self._timeout_s,
                parameters=request.parameters if asked.draw is None else asked.draw.split.without_key(request.parameters),
                on_ended=asked.end,
            )
        except BaseException:
            asked.give_back()
            raise

    async def _wake(self, asked: Asked) -> None:
        """Wait, in a place like others, for a version that sleeps; then take a place in its queue."""
        served, model = asked.served, asked.model
        if model.admitted >= self._queue_limit:
            check_place(model.name, model.admitted, self._queue_limit, 0.0)
        model.admitted += 1
        self.in_flight += 1
        self.table.begin_request(served)
        try:
            await self.table.wake(served, min(asked.request.deadline, self.monotonic() + self._timeout_s))
        except BaseException:
            self.table.end_request(served)
            raise
        finally:
            self.in_flight -= 1
            model.admitted -= 1
        try:
            self._admit(asked)
        finally:
            self.table.end_request(served)

    def observe(self, asked: Asked, error_code: str) -> None:
        """Tell the sink; an answer without a ticket came from the cache."""
        request, version, ticket = asked.request, asked.served.version, asked.ticket
        queue_ms = compute_ms = input_ms = output_ms = 0.0
        batch_rows = 0
        if ticket is not None:
            queue_ms, compute_ms, batch_rows = ticket.queue_ms, ticket.compute_ms, ticket.batch_rows
            input_ms, output_ms = ticket.input_ms, ticket.output_ms
        is_hit = asked.outputs is not None
        observation = _observation(
            (
                request.request_id,
                version.name,
                version.number,
                self._clock(),
                asked.rows,
                queue_ms,
                compute_ms,
                error_code,
                request.transport,
                request.trace,
                is_hit,
                batch_rows,
                asked.key is not None and not is_hit,
                input_ms,
                output_ms,
                asked.cache_ms,
            )
        )
        self._sink.record(observation)
        if self._recorder is not None:
            self._recorder.take(observation, asked)
        if asked.draw is not None:
            asked.draw.split.ended(asked, asked.draw, error_code)


class Asked(msgspec.Struct, eq=False):
    """A request that has begun. It has a `ticket`, or the `outputs` that the cache had; `response` is for when the ticket is settled.
    `draw` says which arm answers it, where a release divides requests.
    """

    plane: DataPlane
    request: InferRequest
    served: ServedVersion
    model: ServedModel
    rows: int = 0
    key: Key | None = None
    cache_ms: float = 0.0
    outputs: dict[str, Array] | None = None
    ticket: Ticket | None = None
    draw: Draw | None = None

    def response(self) -> InferResponse:
        """Return the answer, or raise what went wrong."""
        outputs = self.ticket.result() if self.ticket is not None else self.outputs
        if outputs is None:
            raise InvalidStateError("The request was not admitted.")
        arm = "" if self.draw is None else self.draw.name
        served = self.served
        return InferResponse(self.request.model, served.version.number, outputs, self.request.request_id, arm, served.interface)

    def end(self, ticket: Ticket) -> None:
        """Its ticket is settled: give its place back, keep its answer, and say how it went."""
        self.ticket = ticket
        self.give_back()
        plane, error = self.plane, ticket.error
        if error is None and self.key is not None and plane.cache is not None and not self.served.is_retired:
            began = plane.monotonic()
            plane.cache.put(self.key, ticket.result())
            self.cache_ms += (plane.monotonic() - began) * 1e3
        plane.observe(self, "" if error is None else _code_of(error))

    def give_back(self) -> None:
        """Give the place back."""
        plane = self.plane
        plane.table.end_request(self.served)
        plane.in_flight -= 1
        self.model.admitted -= 1


# `_make` takes a third of the time of a call with the same fields.
_observation = Observation._make


def _code_of(error: BaseException) -> str:
    if isinstance(error, CancelledError):
        return "cancelled"
    return error.code if isinstance(error, FairleadError) else "internal"


def _check_request(served: ServedVersion, request: InferRequest) -> None:
    """What the interface alone does not say: there is something to compute, and each output is asked for once."""
    for name, tensor in request.inputs.items():
        if not tensor.size:
            raise RequestError(f"Input '{name}' is empty: its shape is {list(tensor.shape)}.", hint="Every dimension needs at least 1.")
    if request.outputs:
        if len(set(request.outputs)) != len(request.outputs):
            raise RequestError("An output is asked for twice.", hint="Name each output once.")
        for name in request.outputs:
            served.interface.output(name)
