"""MLflow's scoring protocol: POST /invocations, for clients of `mlflow models serve`.

Takes JSON with exactly one of dataframe_split, dataframe_records, instances and inputs, or CSV with a line of column names; answers
`{"predictions": ...}` with what the model's own library predicts: labels or numbers for estimators, scores for networks. Raises
RequestError; a column that the model does not have, or `params`, is refused rather than dropped. Protocol: mlflow.org/docs.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import msgspec

from fairlead.core.interface import Array, DecisionKind, Interface, decide, shorten
from fairlead.errors import RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.http.body import convert, unreadable
from fairlead.serve.http.long_rows import columns_in_steps, csv_in_steps, frame_in_steps, rows_in_steps
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.outline import read_skeleton
from fairlead.serve.http.predict import default_name
from fairlead.serve.http.routes import Call
from fairlead.serve.http.row_answer import rows_answer
from fairlead.serve.http.v2 import find_version, infer_request
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.records import NOTHING, Before, from_columns, from_frame, from_rows, without_undecided
from fairlead.serve.steps import LONG_BYTES, Steps, at_once
from fairlead.serve.tensor_json import plain_nested

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_LONG_CSV_BYTES = 2**15  # CSV that takes longer than two milliseconds


class SplitFrame(msgspec.Struct):
    """A data frame as pandas writes it with orient="split"; the index means nothing here."""

    data: list[list[Any]]
    columns: list[str | int] | None = None
    index: Any = None


class Invocation(msgspec.Struct):
    """The JSON body. Exactly one of the forms is set."""

    dataframe_split: SplitFrame | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: list[Any] | msgspec.UnsetType = msgspec.UNSET
    instances: Any = msgspec.UNSET
    inputs: Any = msgspec.UNSET
    params: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(Invocation)
_STRICT = msgspec.json.Decoder(Any)


class MlflowHandlers:
    """`default_model` answers where there are several; "" means that there has to be one only. `long` answers where a body is large."""

    def __init__(self, plane: DataPlane, long: LongBodies, default_model: str = "") -> None:
        self._plane = plane
        self._long = long
        self._default_model = default_model

    async def invocations(self, call: Call) -> Reply:
        """POST /invocations."""
        table = self._plane.table
        served, number = find_version(table, call, default_name(table, self._default_model))
        interface = served.interface
        if len(call.text) > (_LONG_CSV_BYTES if call.is_csv else LONG_BYTES):
            response = await self._long.infer(served, _read_in_steps(served, call, number))
        else:
            response = await self._plane.infer(infer_request(served, _read(interface, call), call.request, number), served)
        found = await rows_answer(response.outputs, partial(predictions, response.interface or interface))
        return json_reply({"predictions": found}, headers=who_answered(response))


def decode_invocation(text: bytes | bytearray) -> Invocation:
    """Return the body. MLflow's own client writes missing numbers as NaN, which is not JSON: it is taken here, and only here."""
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" not in text:
            raise unreadable(error) from None
    try:
        return convert(_with_nan(bytes(text)), Invocation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error) from None


def _with_nan(text: bytes) -> Any:
    """Return what a text says that may hold NaN; raises what the strict decoder raises where it is no JSON otherwise."""
    try:
        return _STRICT.decode(text)
    except msgspec.DecodeError as error:
        if b"NaN" not in text:
            raise
        problem = error
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_nan)
    except ValueError:
        raise problem from None


def _nan(name: str) -> float:
    if name != "NaN":
        raise ValueError(name)
    return math.nan


def _read(interface: Interface, call: Call) -> dict[str, Array]:
    """Read a small body."""
    return at_once(csv_in_steps(interface, call.text)) if call.is_csv else read_invocation(interface, decode_invocation(call.text))


def _read_in_steps(served: ServedVersion, call: Call, number: int | None) -> Steps[InferRequest]:
    """Read a large body."""
    interface = served.interface
    if call.is_csv:
        return infer_request(served, (yield from csv_in_steps(interface, call.text)), call.request, number)
    skeleton = yield from read_skeleton(call.text, _with_nan)
    body = convert(skeleton.value, Invocation)
    form = _form(body)
    if isinstance(body.dataframe_split, SplitFrame):
        frame = body.dataframe_split
        inputs = yield from frame_in_steps(interface, (yield from skeleton.filled(frame.columns)), skeleton, frame.data)
    elif form == "dataframe_records":
        inputs = yield from rows_in_steps(interface, skeleton, body.dataframe_records, _from_records)
    elif form == "inputs" and isinstance(body.inputs, dict):
        inputs = yield from columns_in_steps(interface, skeleton, body.inputs)
    else:
        inputs = yield from rows_in_steps(interface, skeleton, getattr(body, form))
    return infer_request(served, inputs, call.request, number)


def read_invocation(interface: Interface, body: Invocation) -> dict[str, Array]:
    """Return the tensors in one of the accepted forms."""
    form = _form(body)
    if isinstance(body.dataframe_split, SplitFrame):
        frame = body.dataframe_split
        return from_frame(interface, frame.columns, frame.data)
    if isinstance(body.dataframe_records, list):
        return _from_records(interface, body.dataframe_records)
    if form == "instances":
        return from_rows(interface, body.instances)
    return from_columns(interface, body.inputs) if isinstance(body.inputs, dict) else from_rows(interface, body.inputs)


def _form(body: Invocation) -> str:
    """Return which form it is."""
    given = [form for form in _FORMS if getattr(body, form) is not msgspec.UNSET]
    if len(given) != 1:
        raise RequestError(f"The body has {len(given)} of {', '.join(_FORMS)}.", hint="Send exactly one of them.")
    if body.params:
        raise RequestError(f"The model has no parameter '{shorten(next(iter(body.params)))}'.", hint="Leave params out.")
    return given[0]


def predictions(interface: Interface, outputs: dict[str, Array]) -> Any:
    """Return what the model's library would predict: one label or number for each row, or the scores; without a rule, all outputs.

    A row whose scores are NaN has no label: null.
    """
    rule = interface.decision
    if rule is not None:
        if rule.kind is DecisionKind.LABEL:
            return without_undecided(interface, outputs, plain_nested(decide(interface, outputs)))
        return plain_nested(decide(interface, outputs) if rule.kind is DecisionKind.VALUE else outputs[rule.output])
    if len(outputs) == 1:
        return plain_nested(next(iter(outputs.values())))
    return {name: plain_nested(array) for name, array in outputs.items()}


def _from_records(interface: Interface, records: list[Any], before: Before = NOTHING) -> dict[str, Array]:
    """Records of a frame without names have 0, 1, ... for them."""
    if not all(isinstance(record, dict) for record in records):
        raise RequestError("'dataframe_records' holds what is no record.", hint="Each names the columns: {column: value}.")
    names = [str(place) for place in range(len(before.first if before.row_count else records[0]))] if records else []
    if names and all(list(record) == names for record in records):
        return from_frame(interface, names, [list(record.values()) for record in records], before)
    return from_rows(interface, records, before)
