"""The data plane: one inference request in, one response out, whatever transport brought it.

Takes `InferRequest`s; gives `InferResponse`s; tells an ObservationSink about each. Raises NotFoundError (no such model or version),
UnavailableError (loading or failed), RequestError (the tensors do not fit), OverloadedError (the model's places are taken) and what an
engine raises. It knows no HTTP, no JSON and no status code, and never lets a request see another one's rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from fairlead.core.interface import Array, Tensors
from fairlead.core.observation import Observation
from fairlead.core.ports import Clock, ObservationSink
from fairlead.errors import FairleadError, OverloadedError, RequestError
from fairlead.serve.model_table import ModelTable, ServedModel, ServedVersion
from fairlead.serve.runner import Run, Runner

_NO_RUN = Run({}, 0.0, 0.0)


# A frozen msgspec.Struct is made five times as fast as a frozen dataclass, and one of each is made for every request.
class InferRequest(msgspec.Struct, frozen=True):
    """What is asked of a model. `version` None means the one that answers by default; no `outputs` means all of them."""

    model: str
    inputs: Tensors
    version: int | None = None
    outputs: tuple[str, ...] = ()
    request_id: str = ""
    parameters: Mapping[str, str | int | float | bool] = {}


class InferResponse(msgspec.Struct, frozen=True):
    """The answer: which version gave it, and its outputs by name."""

    model: str
    version: int
    outputs: dict[str, Array]
    request_id: str = ""


class DataPlane:
    """`queue_limit` is how many requests of one model wait or run at once. `clock` gives Unix seconds for observations."""

    def __init__(self, table: ModelTable, runner: Runner, sink: ObservationSink, *, queue_limit: int, clock: Clock = time.time) -> None:
        self.table = table
        self._runner = runner
        self._sink = sink
        self._queue_limit = queue_limit
        self._clock = clock
        self.in_flight = 0

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the answer to `request`; see the module for the errors."""
        served = self.table.resolve(request.model, request.version)
        model = self.table.models[request.model]
        rows, error_code, run = 0, "", _NO_RUN
        try:
            rows = served.interface.check_inputs(request.inputs)
            _check_request(served, request)
            run = await self._run(model, served, request)
        except FairleadError as error:
            error_code = error.code
            raise
        except BaseException:
            error_code = "internal"
            raise
        finally:
            at, number = self._clock(), served.version.number
            self._sink.record(Observation(request.request_id, model.name, number, at, rows, run.queue_ms, run.compute_ms, error_code))
        return InferResponse(request.model, number, run.outputs, request.request_id)

    async def _run(self, model: ServedModel, served: ServedVersion, request: InferRequest) -> Run:
        """Admit, run, and let go. The counts are exact: one thread touches them, and nothing awaits between test and increment."""
        if model.admitted >= self._queue_limit:
            raise OverloadedError(f"Model '{model.name}' has {model.admitted} requests waiting, its limit.", hint="Ask again later.")
        model.admitted += 1
        self.in_flight += 1
        self.table.begin_request(served)
        try:
            return await self._runner.run(served, request.inputs, request.outputs)
        finally:
            self.table.end_request(served)
            self.in_flight -= 1
            model.admitted -= 1


def _check_request(served: ServedVersion, request: InferRequest) -> None:
    """What the interface alone does not say: there is something to compute, and each output is asked for once."""
    for name, tensor in request.inputs.items():
        if tensor.size == 0:
            raise RequestError(f"Input '{name}' is empty: its shape is {list(tensor.shape)}.", hint="Every dimension needs at least 1.")
    if request.outputs:
        if len(set(request.outputs)) != len(request.outputs):
            raise RequestError("An output is asked for twice.", hint="Name each output once.")
        for name in request.outputs:
            served.interface.output(name)
