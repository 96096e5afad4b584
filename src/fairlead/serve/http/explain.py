"""POST /v2/models/{name}/explain: why the model answers rows as it does.

Takes rows in any form that POST /predict takes, or tensors as the Open Inference Protocol has them, and beside them what is asked: "kind"
(explanation, counterfactual or rule), "of", "to", "keep", "method", "budget_s". Answers what `fairlead explain --json` prints. Raises
RequestError, TooLargeError for more rows than are explained at once, OverloadedError (503) where as many explanations as allowed are under
way, DeadlineError (504).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.core.interface import Interface, Tensors
from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.explaining import ROW_LIMIT, Explaining
from fairlead.serve.http.body import convert, decode
from fairlead.serve.http.long_lists import cut_request
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.outline import read_skeleton
from fairlead.serve.http.predict import read_rows, read_rows_in_steps
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import find_version
from fairlead.serve.http.v2_request import AnyRequest, read_inputs
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ModelTable
from fairlead.serve.steps import LONG_BYTES, Steps

_DECODER = msgspec.json.Decoder(dict[str, Any])
_WISHES = ("kind", "of", "to", "keep", "method", "seed")
_BUDGET = "budget_s"
_TENSORS, _DATATYPE = "inputs", b'"datatype"'


@dataclass(frozen=True)
class _Asked:
    """What a body says: rows, what is asked of them, and how long it may take."""

    rows: Tensors
    wish: dict[str, Any]
    budget_s: float | None


class ExplainHandlers:
    """`explaining` does the work, beside inference; `long` reads where a body is large."""

    def __init__(self, table: ModelTable, explaining: Explaining, long: LongBodies) -> None:
        self._table, self._explaining, self._long = table, explaining, long

    async def explain(self, call: Call) -> Reply:
        """POST /v2/models/{name}[/versions/{version}]/explain and /v1/models/{name}:explain."""
        served, _ = find_version(self._table, call)
        self._table.begin_request(served)  # it is not let go while a large body is read
        try:
            if len(call.text) > LONG_BYTES:
                asked = await self._long.read(_read_in_steps(served.interface, call.text))
            else:
                asked = _read(served.interface, decode(_DECODER, call.text))
            count = served.interface.check_inputs(asked.rows)
            if count > ROW_LIMIT:
                raise TooLargeError(f"{count} rows are more than the {ROW_LIMIT} that are explained at once.", hint="Send fewer rows.")
            found = await self._explaining.explain(served, asked.rows, asked.wish, asked.budget_s)
        finally:
            self._table.end_request(served)
        return json_reply({"model": served.version.name, "version": served.version.number, **found})


def _read(interface: Interface, body: dict[str, Any]) -> _Asked:
    wish, budget_s = _wish(body)
    rows = read_inputs(interface, convert(body, AnyRequest)) if _is_v2(body) else read_rows(interface, body)
    return _Asked(rows, wish, budget_s)


def _read_in_steps(interface: Interface, text: bytes | bytearray) -> Steps[_Asked]:
    """Read a large body."""
    skeleton = yield from read_skeleton(text)
    body = convert(skeleton.value, dict[str, Any])
    wish, budget_s = _wish(body)
    if _DATATYPE in text and not isinstance(body.get(_TENSORS, {}), dict):  # a long list is a mark in the skeleton
        cut = yield from cut_request(interface, text, None)
        return _Asked(read_inputs(interface, cut.request, None, cut.arrays), wish, budget_s)
    return _Asked((yield from read_rows_in_steps(interface, skeleton, body)), wish, budget_s)


def _wish(body: dict[str, Any]) -> tuple[dict[str, Any], float | None]:
    """Take out of `body` what is no row."""
    wish = {name: body.pop(name) for name in _WISHES if name in body}
    budget_s = convert(body.pop(_BUDGET), float) if _BUDGET in body else None
    if budget_s is not None and not budget_s > 0:
        raise RequestError(f"A time of {budget_s} s is none.", hint='Send {"budget_s": 1.5, ...}.')
    return wish, budget_s


def _is_v2(body: dict[str, Any]) -> bool:
    """Whether its inputs are tensors with names and types, as the Open Inference Protocol has them."""
    value = body.get(_TENSORS)
    return isinstance(value, list) and all(isinstance(one, dict) and "datatype" in one for one in value)
