"""The server under test, as the checks see it: how to ask, what it is known to offer, and one request that is known to work.

Takes a URL and what the user said; gives a Target. Raises what finding and describing a model raises. It keeps every exchange that failed,
for the check that looks for traces in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors
from fairlead.errors import FairleadError
from fairlead.probe.http_client import Exchange, HttpClient
from fairlead.probe.model_facts import ModelFacts
from fairlead.probe.tensors import FREE_SIZES, binary_request, json_tensors, read_answer, valid_inputs

Json = dict[str, Any]


@dataclass
class Target:
    """`models` are those to check datatypes with, `model` the one for everything else. `inputs` is one row that works, `outputs` its answer
    (None: no request worked, `why_no_request` says what came). `call` speaks gRPC (None: `why_no_grpc`).
    """

    http: HttpClient
    server: Mapping[str, Any]
    models: tuple[ModelFacts, ...]
    grpc: Any = None
    why_no_grpc: str = ""
    may_unload: bool = False
    drain_pid: int = 0
    given: Json | None = None
    free_size: int = FREE_SIZES[0]
    inputs: Tensors = field(default_factory=dict)
    outputs: dict[str, Array] | None = None
    why_no_request: str = ""
    refusals: list[Exchange] = field(default_factory=list)

    @property
    def model(self) -> ModelFacts:
        """The model that most checks ask."""
        return self.models[0]

    @property
    def extensions(self) -> tuple[str, ...]:
        """What the server lists."""
        listed = self.server.get("extensions")
        return tuple(str(name) for name in listed) if isinstance(listed, list) else ()

    def watch(self, exchange: Exchange) -> None:
        """Keep what was refused."""
        if exchange.status >= 400:
            self.refusals.append(exchange)

    def arrays(self, rows: int = 1, seed: int = 0) -> dict[str, Array]:
        """Return inputs of `rows` rows that the model takes; for a given request, its own row again."""
        if self.given is not None:
            return {name: array.repeat(rows, axis=0) if rows != 1 else array for name, array in self.inputs.items()}
        return valid_inputs(self.model.inputs, rows=rows, seed=seed, free_size=self.free_size)

    def body(self, inputs: Tensors | None = None, **more: Any) -> Json:
        """Return a request for `inputs` (the row that works) with other keys beside."""
        return {"inputs": json_tensors(self.inputs if inputs is None else inputs), **more}

    def infer(self, body: object, headers: Mapping[str, str] | None = None, *, version: str = "") -> Exchange:
        """POST a request as JSON."""
        return self.http.post(self.infer_path(version), body, headers)

    def infer_binary(self, inputs: Tensors, more: Json | None = None, headers: Mapping[str, str] | None = None) -> Exchange:
        """POST a request whose inputs are all binary."""
        body, size = binary_request(inputs, more)
        return self.send_binary(body, str(size), headers)

    def send_binary(self, body: bytes, size: str, headers: Mapping[str, str] | None = None) -> Exchange:
        """POST a binary body that says its JSON part has `size` bytes."""
        said = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": size, **(headers or {})}
        return self.http.ask("POST", self.infer_path(), body, said)

    def infer_path(self, version: str = "") -> str:
        """Where requests go."""
        return f"{self.model.path}{f'/versions/{version}' if version else ''}/infer"

    def find_request(self) -> None:
        """Find a row that the model takes, and note its answer."""
        for size in FREE_SIZES if self.given is None else FREE_SIZES[:1]:
            self.free_size = size
            inputs = self._given_inputs() if self.given is not None else valid_inputs(self.model.inputs, free_size=size)
            is_json = all(array.dtype != DType.FP16.numpy for array in inputs.values())
            self.inputs = inputs
            exchange = self.infer(self.body()) if is_json else self.infer_binary(inputs)
            if exchange.status == 200:
                self._note(exchange)
                return
            self.why_no_request = self.why_no_request or exchange.came

    def where(self, fits: Callable[[ModelFacts], bool]) -> Target | None:
        """Return the server as seen through the first model that fits and takes a request; None where there is none."""
        for model in self.models:
            if fits(model):
                other = self if model is self.model else replace(self, models=(model,), given=None, outputs=None)
                if other is not self:
                    other.find_request()
                if other.outputs is not None:
                    return other
        return None

    def _given_inputs(self) -> dict[str, Array]:
        return read_answer_inputs(self.given or {})

    def _note(self, exchange: Exchange) -> None:
        try:
            self.outputs = read_answer(exchange.body, exchange.headers)[1]
        except FairleadError as error:
            self.why_no_request = f"{error.message} It was: {exchange.came}"


def read_answer_inputs(request: Json) -> dict[str, Array]:
    """Return the inputs of a JSON request as arrays: they have the same form as the outputs of an answer."""
    return read_answer(json.dumps({"outputs": request.get("inputs")}).encode(), {})[1]
