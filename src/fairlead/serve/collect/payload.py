"""What a payload logger copied, to the tensors of a registered version: V2, V1 (TensorFlow Serving, MLflow) and Seldon Core 1.

Takes the bytes of a request or an answer and the version's interface; gives tensors by its names. JSON, with raw tensors behind it where
there are any (loggers do not keep the header that says where they begin; JSON ends by itself), gzip as some servers answer. Raises
RequestError that says what does not fit, TooLargeError, UnsupportedError. NaN, which some servers write and JSON does not have, is missing.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec, shorten
from fairlead.errors import RequestError
from fairlead.serve.collect.fitting import fit_only, fit_tensors
from fairlead.serve.collect.seldon import is_seldon, seldon_inputs, seldon_values
from fairlead.serve.http.body import convert, decompress, unreadable
from fairlead.serve.http.decoded_size import check_json
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.mlflow import Invocation, read_invocation
from fairlead.serve.http.v2_request import AnyTensor
from fairlead.serve.records import from_columns, from_rows
from fairlead.serve.tensor_binary import BF16, read_raw
from fairlead.serve.tensor_json import shaped

_ANY = msgspec.json.Decoder(Any)
_PYTHON = json.JSONDecoder()
_HEAD_LIMIT = 2**20  # of JSON in front of raw tensors
_GZIP = b"\x1f\x8b"
_NOT_MEANT = ("params", "parameters")  # they change how a server answers, not what was asked about


class Decoded(NamedTuple):
    """A payload: its JSON object, and what stands behind it."""

    value: dict[str, Any]
    binary: memoryview | None = None


class Read(NamedTuple):
    """What was asked, and the id that the request gives itself; "" where it does not."""

    tensors: dict[str, Array]
    own_id: str


def is_packed(data: bytes) -> bool:
    """Whether a payload is compressed: how large it is shows only when it is opened."""
    return data.startswith(_GZIP)


def decode_payload(data: bytes, limits: HttpLimits) -> Decoded:
    """Return the JSON object that `data` holds."""
    body = bytes(decompress(b"gzip", data, limits.body_bytes)) if is_packed(data) else data
    if not body:
        raise RequestError("There are no data.", hint="Log the payload, too: mode all.")
    try:
        check_json(body, limits.json_depth, limits.body_bytes)
        return Decoded(_object(_decoded(body)))
    except RequestError:
        end = _end_of_json(body)
        if end is None:
            raise
    head = body[:end]
    check_json(head, limits.json_depth, limits.body_bytes)
    return Decoded(_object(_decoded(head)), memoryview(body)[end:])


def read_question(interface: Interface, payload: Decoded) -> Read:
    """Return what was asked."""
    value = payload.value
    if _is_v2(value.get("inputs")):
        inputs = fit_tensors(interface.inputs, _tensors(value["inputs"], payload.binary))
    elif is_seldon(value):
        inputs = seldon_inputs(interface, value)
    else:
        plain = {name: item for name, item in value.items() if name not in _NOT_MEANT}
        inputs = read_invocation(interface, convert(plain, Invocation))
    interface.check_inputs(inputs)
    return Read(inputs, _text(value, "id"))


def read_answer(interface: Interface, payload: Decoded) -> dict[str, Array]:
    """Return what was answered, by output; raises RequestError for an answer that says that something went wrong."""
    value, specs = payload.value, interface.outputs
    if value.get("error"):
        raise RequestError("The answer is an error.")
    if _is_v2(value.get("outputs")):
        return fit_tensors(specs, _tensors(value["outputs"], payload.binary))
    if is_seldon(value):
        return fit_only(specs, seldon_values(value))
    given = [name for name in ("predictions", "outputs") if name in value]
    if len(given) != 1:
        raise RequestError("The answer has neither outputs nor predictions, or both.", hint="V1, V2 and Seldon's answers are understood.")
    return _plain_outputs(specs, value[given[0]])


def said_version(payload: Decoded) -> str:
    """Return the version that an answer names; "" where it names none."""
    return _text(payload.value, "model_version")


def _plain_outputs(specs: tuple[TensorSpec, ...], given: Any) -> dict[str, Array]:
    """Return outputs as V1 has them: rows, records that name outputs, or columns by name."""
    names = given if isinstance(given, dict) else given[0] if isinstance(given, list) and given and isinstance(given[0], dict) else None
    if names is None:
        return fit_only(specs, given)
    chosen = tuple(spec for spec in specs if spec.name in names)
    if not chosen and len(names) == 1:  # one output, by another name
        (name,) = names
        return fit_only(
            specs, given[name] if isinstance(given, dict) else [row.get(name) if isinstance(row, dict) else row for row in given]
        )
    mirrored = Interface(chosen or specs, ())
    return fit_tensors(specs, from_columns(mirrored, given) if isinstance(given, dict) else from_rows(mirrored, given))


def _is_v2(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "datatype" in value[0]


def _tensors(given: list[Any], binary: memoryview | None) -> dict[str, Array]:
    """Return tensors of V2 as they were sent."""
    found: dict[str, Array] = {}
    place = 0
    for tensor in convert(given, list[AnyTensor]):
        if tensor.name in found:
            raise RequestError(f"Tensor '{shorten(tensor.name)}' is given twice.")
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            found[tensor.name] = _from_json(tensor)
            continue
        if binary is None or type(size) is not int or not 0 <= size <= len(binary) - place or tensor.data is not None:
            raise RequestError(f"Tensor '{shorten(tensor.name)}' has a binary_data_size that does not fit what was logged.")
        spec = _spec(tensor, DType.FP32 if tensor.datatype == BF16 else None)
        found[tensor.name] = read_raw(spec, tensor.shape, binary[place : place + size], tensor.datatype)
        place += size
    if binary is not None and place != len(binary):
        raise RequestError(f"{len(binary) - place} bytes stand behind the last raw tensor.")
    return found


def _from_json(tensor: AnyTensor) -> Array:
    if tensor.data is None:
        raise RequestError(f"Tensor '{shorten(tensor.name)}' has no data.")
    spec = _spec(tensor, DType.FP32 if tensor.datatype in {DType.FP16, BF16} else None)  # some servers write them as numbers
    return shaped(spec, tensor.shape, list(tensor.data))


def _spec(tensor: AnyTensor, dtype: DType | None) -> TensorSpec:
    if dtype is None and tensor.datatype not in DType.__members__:
        raise RequestError(f"Tensor '{shorten(tensor.name)}' has the unknown datatype '{shorten(tensor.datatype)}'.")
    return TensorSpec(shorten(tensor.name), dtype or DType(tensor.datatype), (None,) * len(tensor.shape))


def _decoded(text: bytes) -> Any:
    try:
        return _ANY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" not in text:
            raise unreadable(error) from None
        problem = error
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_missing)
    except (ValueError, RecursionError):
        raise unreadable(problem) from None


def _missing(name: str) -> None:
    if name != "NaN":
        raise ValueError(name)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError("The payload is no JSON object.")
    return value


def _end_of_json(body: bytes) -> int | None:
    """Return where an object in front of raw bytes ends; None where there is none."""
    text = body[:_HEAD_LIMIT].decode("latin-1")  # so places in the text are places in the bytes
    try:
        end: int = _PYTHON.raw_decode(text)[1] if text.startswith("{") else 0
    except (ValueError, RecursionError):
        return None
    return end if 0 < end < len(body) else None


def _text(value: dict[str, Any], name: str) -> str:
    given = value.get(name)
    return given[:128] if isinstance(given, str) else ""
