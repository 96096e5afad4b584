"""An inference response of the V2 protocol: outputs as JSON, or as raw tensors behind it where the request asks for them.

Takes the response of the data plane and what the request said of its outputs; gives a reply. Raises RequestError for an output's parameter
that is not offered. NaN and infinities are null in JSON, and what they are in raw tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, shorten
from fairlead.errors import RequestError
from fairlead.serve.data_plane import InferResponse
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.v2_request import OutputChoice
from fairlead.serve.parameters import check_tensor_parameters
from fairlead.serve.steps import Steps
from fairlead.serve.tensor_binary import write_raw
from fairlead.serve.tensor_json import plain

LONG_COUNT = 2**13  # numbers that take about a millisecond to write
_NONE: Mapping[str, msgspec.Raw] = {}
_OCTETS = b"application/octet-stream"
_TYPE_NAMES = {dtype.numpy: dtype.value for dtype in DType}


class OutputTensor(msgspec.Struct):
    """An output in an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | msgspec.Raw


class RawOutput(msgspec.Struct):
    """An output in an answer whose bytes stand behind the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int]


class Answer(msgspec.Struct, omit_defaults=True):
    """An inference response."""

    model_name: str
    model_version: str
    outputs: Sequence[OutputTensor | RawOutput]
    id: str | None = None
    parameters: dict[str, str] | None = None


_ENCODER = msgspec.json.Encoder()


def raw_outputs(choices: Sequence[OutputChoice] | None, *, is_default: bool) -> frozenset[str] | None:
    """Return the names of the outputs that are asked for as raw tensors; None for all that are not named otherwise."""
    names = []
    for choice in choices or ():
        wanted: object = is_default
        if choice.parameters:
            check_tensor_parameters(choice.parameters)
            wanted = choice.parameters.get("binary_data")
            wanted = is_default if wanted is None else wanted
            if not isinstance(wanted, bool):
                raise RequestError(f"Output '{shorten(choice.name)}': the parameter 'binary_data' is not true or false.")
        if wanted:
            names.append(choice.name)
    return None if is_default and not choices else frozenset(names)


def answer(
    response: InferResponse, request_id: str | None, raw: frozenset[str] | None = frozenset(), written: Mapping[str, msgspec.Raw] = _NONE
) -> Reply:
    """Return a response in the protocol's form; `raw` as `raw_outputs` gives it, `written` the elements that are JSON already."""
    version = str(response.version)
    said = who_answered(response) if response.arm else ()
    parameters = {"arm": response.arm} if said else None
    if raw is not None and not raw and not written:
        tensors = [OutputTensor(name, _type_name(array), array.shape, plain(array)) for name, array in response.outputs.items()]
        return json_reply(Answer(response.model, version, tensors, request_id, parameters), 200, said)
    outputs: list[OutputTensor | RawOutput] = []
    parts: list[bytes] = [b""]
    for name, array in response.outputs.items():
        if raw is None or name in raw:
            part = write_raw(array)
            parts.append(part)
            outputs.append(RawOutput(name, _type_name(array), array.shape, {"binary_data_size": len(part)}))
        else:
            outputs.append(OutputTensor(name, _type_name(array), array.shape, written[name] if name in written else plain(array)))
    if raw is not None and not raw:
        return json_reply(Answer(response.model, version, outputs, request_id, parameters), 200, said)
    parts[0] = head = _ENCODER.encode(Answer(response.model, version, outputs, request_id, parameters))
    return Reply(200, b"".join(parts), _OCTETS, (*said, b"inference-header-content-length: %d" % len(head)))


def who_answered(response: InferResponse) -> tuple[bytes, ...]:
    """Return the header lines that name the version that answered, and its arm where a release divides requests."""
    version = b"fairlead-version: %d" % response.version
    return (version, b"fairlead-arm: " + response.arm.encode("ascii")) if response.arm else (version,)


def is_long_answer(response: InferResponse, raw: frozenset[str] | None) -> bool:
    """Whether writing the answer takes so long that others must have their turns meanwhile."""
    for name, array in response.outputs.items():  # noqa: SIM110 - a third of what any() costs, with every request
        if array.size > LONG_COUNT and raw is not None and name not in raw:
            return True
    return False


def answer_in_steps(response: InferResponse, request_id: str | None, raw: frozenset[str] | None, count: int = LONG_COUNT) -> Steps[Reply]:
    """Return what `answer` returns; each step writes `count` elements."""
    written: dict[str, msgspec.Raw] = {}
    for name, array in response.outputs.items():
        if raw is None or name in raw:
            continue
        flat, parts = array.ravel(), []
        for place in range(0, flat.size, count):
            parts.append(_ENCODER.encode(plain(flat[place : place + count]))[1:-1])
            yield
        written[name] = msgspec.Raw(b"[%b]" % b",".join(parts))
    return answer(response, request_id, raw, written)


def _type_name(array: Array) -> str:
    name = _TYPE_NAMES.get(array.dtype)
    return name if name is not None else DType.of(array.dtype).value
