"""MLflow's scoring protocol: POST /invocations, for clients of `mlflow models serve`.

Takes JSON with exactly one of dataframe_split, dataframe_records, instances and inputs, or CSV with a line of column names; answers
`{"predictions": ...}` with what the model's own library predicts: labels or numbers for estimators, scores for networks. Raises
RequestError; a column that the model does not have, or `params`, is refused rather than dropped. Protocol: mlflow.org/docs.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from fairlead.core.interface import Array, DecisionKind, Interface, decide, shorten
from fairlead.errors import RequestError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.body import unreadable
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.predict import default_name
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import find_version, infer_request
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.records import from_columns, from_frame, from_rows, without_undecided
from fairlead.serve.table_text import read_csv
from fairlead.serve.tensor_json import plain_nested

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BESIDE_BYTES = 2**17  # CSV that takes longer than a moment is read in a thread


class SplitFrame(msgspec.Struct):
    """A data frame as pandas writes it with orient="split"; the index means nothing here."""

    data: list[list[Any]]
    columns: list[str | int] | None = None
    index: Any = None


class Invocation(msgspec.Struct):
    """The JSON body. Exactly one of the forms is set."""

    dataframe_split: SplitFrame | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    instances: Any = msgspec.UNSET
    inputs: Any = msgspec.UNSET
    params: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(Invocation)


class MlflowHandlers:
    """`default_model` answers where there are several; "" means that there has to be one only."""

    def __init__(self, plane: DataPlane, default_model: str = "") -> None:
        self._plane = plane
        self._default_model = default_model

    async def invocations(self, call: Call) -> Reply:
        """POST /invocations."""
        table = self._plane.table
        served, number = find_version(table, call, default_name(table, self._default_model))
        interface = served.interface
        table.begin_request(served)  # it is not let go while the body is read
        try:
            if not call.is_csv:
                inputs = read_invocation(interface, decode_invocation(call.text))
            elif len(call.text) <= _BESIDE_BYTES:
                inputs = from_frame(interface, *read_csv(interface, call.text))
            else:
                inputs = await asyncio.to_thread(lambda: from_frame(interface, *read_csv(interface, call.text)))
            response = await self._plane.infer(infer_request(served, inputs, call.request, number), served)
        finally:
            table.end_request(served)
        found = predictions(response.interface or interface, response.outputs)
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
        problem = unreadable(error)
    try:
        return msgspec.convert(json.loads(text.decode("utf-8")), Invocation)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None
    except (ValueError, RecursionError):
        raise problem from None


def read_invocation(interface: Interface, body: Invocation) -> dict[str, Array]:
    """Return the tensors in one of the accepted forms."""
    given = [form for form in _FORMS if getattr(body, form) is not msgspec.UNSET]
    if len(given) != 1:
        raise RequestError(f"The body has {len(given)} of {', '.join(_FORMS)}.", hint="Send exactly one of them.")
    if body.params:
        raise RequestError(f"The model has no parameter '{shorten(next(iter(body.params)))}'.", hint="Leave params out.")
    if isinstance(body.dataframe_split, SplitFrame):
        frame = body.dataframe_split
        return from_frame(interface, frame.columns, frame.data)
    if isinstance(body.dataframe_records, list):
        return _from_records(interface, body.dataframe_records)
    if given[0] == "instances":
        return from_rows(interface, body.instances)
    return from_columns(interface, body.inputs) if isinstance(body.inputs, dict) else from_rows(interface, body.inputs)


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


def _from_records(interface: Interface, records: list[dict[str, Any]]) -> dict[str, Array]:
    """Records of a frame without names have 0, 1, ... for them."""
    names = [str(place) for place in range(len(records[0]))] if records else []
    if names and all(list(record) == names for record in records):
        return from_frame(interface, names, [list(record.values()) for record in records])
    return from_rows(interface, records)
