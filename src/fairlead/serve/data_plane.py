"""The data plane: one inference request in, one response out, whatever transport brought it.

Takes `InferRequest`s; gives `InferResponse`s; tells an ObservationSink about each. Raises NotFoundError (no such model or version),
UnavailableError (loading or failed), RequestError (the tensors do not fit), OverloadedError (the model's places are taken, or the deadline
would pass before the request began), DeadlineError (it has passed) and what an engine raises. It knows no HTTP, no JSON and no status code,
and never lets a request see another one's rows. Cancelling a call frees its place at once.
"""

from __future__ import annotations

import math
import time
from asyncio import CancelledError
from collections.abc import Mapping

import msgspec

from fairlead.core.interface import Array, Tensors
from fairlead.core.observation import Observation
from fairlead.core.ports import Clock, ObservationSink
from fairlead.core.version import Version
from fairlead.errors import FairleadError, RequestError
from fairlead.serve.admission import check_place
from fairlead.serve.model_table import ModelTable, ServedModel, ServedVersion
from fairlead.serve.response_cache import ResponseCache
from fairlead.serve.ticket import Ticket


# A frozen msgspec.Struct is made five times as fast as a frozen dataclass, and one of each is made for every request.
class InferRequest(msgspec.Struct, frozen=True):
    """What is asked of a model. `version` None means the one that answers by default, or the one with `label`; no `outputs` means all.

    `priority` is that of the V2 protocol: 1 is the highest, 0 the default. `deadline` is in seconds of time.monotonic(): a request is not
    begun after it, and is answered with DeadlineError then. `trace` is a W3C traceparent.
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


class InferResponse(msgspec.Struct, frozen=True):
    """The answer: which version gave it, and its outputs by name."""

    model: str
    version: int
    outputs: dict[str, Array]
    request_id: str = ""


class DataPlane:
    """`queue_limit` is how many requests of one model wait or run at once; `timeout_s` bounds every request's deadline, 0: not at all.
    `cache` keeps answers of deterministic versions. `clock` gives Unix seconds for observations, `monotonic` the seconds of deadlines.
    """

    def __init__(
        self,
        table: ModelTable,
        sink: ObservationSink,
        *,
        queue_limit: int,
        timeout_s: float = 0.0,
        cache: ResponseCache | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.table = table
        self.cache = cache
        self._sink = sink
        self._queue_limit = queue_limit
        self._timeout_s = timeout_s or math.inf
        self._clock = clock
        self._monotonic = monotonic
        self.in_flight = 0

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the answer to `request`; see the module for the errors."""
        served = self.table.resolve(request.model, request.version, request.label)
        model = self.table.models[request.model]
        rows, error_code, ticket, cache, key, is_missed = 0, "", None, self.cache, None, False
        try:
            rows = served.interface.check_inputs(request.inputs)
            _check_request(served, request)
            if cache is not None and served.is_deterministic:
                key = cache.key(served.version.digest, request.inputs, request.outputs)
            outputs = None if cache is None or key is None else cache.get(key)
            if outputs is None:
                is_missed = key is not None
                if served.is_asleep:
                    ticket = await self._wake_and_admit(model, served, request, rows)
                else:
                    ticket = self._admit(model, served, request, rows)
                try:
                    outputs = await ticket
                finally:
                    self._let_go(model, served)
                if cache is not None and key is not None and not served.is_retired:
                    cache.put(key, outputs)
        except FairleadError as error:
            error_code = error.code
            raise
        except CancelledError:
            error_code = "cancelled"
            raise
        except BaseException:
            error_code = "internal"
            raise
        finally:
            self._observe(request, served.version, rows, ticket, error_code, is_missed=is_missed)
        return InferResponse(request.model, served.version.number, outputs, request.request_id)

    def _admit(self, model: ServedModel, served: ServedVersion, request: InferRequest, rows: int) -> Ticket:
        """Take a place. The counts are exact: one thread touches them, and nothing awaits between test and increment."""
        scheduler = served.scheduler
        if model.admitted >= self._queue_limit:
            check_place(model.name, model.admitted, self._queue_limit, scheduler.expected_wait_s())
        ticket = scheduler.submit(
            request.inputs,
            request.outputs,
            rows,
            priority=request.priority,
            deadline=request.deadline,
            timeout_s=self._timeout_s,
            parameters=request.parameters,
        )
        model.admitted += 1
        self.in_flight += 1
        self.table.begin_request(served)
        return ticket

    async def _wake_and_admit(self, model: ServedModel, served: ServedVersion, request: InferRequest, rows: int) -> Ticket:
        """Wait, in a place like others, for a version that gave its memory to others; then take a place in its queue."""
        if model.admitted >= self._queue_limit:
            check_place(model.name, model.admitted, self._queue_limit, 0.0)
        model.admitted += 1
        self.in_flight += 1
        self.table.begin_request(served)
        try:
            await self.table.wake(served, min(request.deadline, self._monotonic() + self._timeout_s))
        except BaseException:
            self.table.end_request(served)
            raise
        finally:
            self.in_flight -= 1
            model.admitted -= 1
        try:
            return self._admit(model, served, request, rows)
        finally:
            self.table.end_request(served)

    def _let_go(self, model: ServedModel, served: ServedVersion) -> None:
        self.table.end_request(served)
        self.in_flight -= 1
        model.admitted -= 1

    def _observe(
        self, request: InferRequest, version: Version, rows: int, ticket: Ticket | None, error_code: str, *, is_missed: bool
    ) -> None:
        """Tell the sink; an answer without a ticket came from the cache."""
        queue_ms, compute_ms, batch_rows = (0.0, 0.0, 0) if ticket is None else (ticket.queue_ms, ticket.compute_ms, ticket.batch_rows)
        self._sink.record(
            Observation(
                request.request_id,
                version.name,
                version.number,
                self._clock(),
                rows,
                queue_ms,
                compute_ms,
                error_code,
                request.transport,
                request.trace,
                ticket is None and not error_code,
                batch_rows,
                is_missed,
            )
        )


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
