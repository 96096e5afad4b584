"""POST /v2/models/{name}/explain: why the model answers rows as it does.

Takes rows in any form that POST /predict takes, and beside them what is asked: "kind" (explanation, counterfactual or rule), "of", "to",
"keep", "method", "budget_s". Answers what `fairlead explain --json` prints. Raises RequestError, TooLargeError for more rows than are
explained at once, OverloadedError (503) where as many explanations as allowed are under way, DeadlineError (504).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.explaining import ROW_LIMIT, Explaining
from fairlead.serve.http.body import convert, decode
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.predict import read_rows
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import find_version
from fairlead.serve.model_table import ModelTable

_DECODER = msgspec.json.Decoder(dict[str, Any])
_WISHES = ("kind", "of", "to", "keep", "method", "seed")
_BUDGET = "budget_s"


class ExplainHandlers:
    """`explaining` does the work, beside inference."""

    def __init__(self, table: ModelTable, explaining: Explaining) -> None:
        self._table, self._explaining = table, explaining

    async def explain(self, call: Call) -> Reply:
        """POST /v2/models/{name}[/versions/{version}]/explain and /v1/models/{name}:explain."""
        served, _ = find_version(self._table, call)
        body = decode(_DECODER, call.text)
        wish = {name: body.pop(name) for name in _WISHES if name in body}
        budget_s = convert(body.pop(_BUDGET), float) if _BUDGET in body else None
        if budget_s is not None and not budget_s > 0:
            raise RequestError(f"A time of {budget_s} s is none.", hint='Send {"budget_s": 1.5, ...}.')
        rows = read_rows(served.interface, body)
        count = served.interface.check_inputs(rows)
        if count > ROW_LIMIT:
            raise TooLargeError(f"{count} rows are more than the {ROW_LIMIT} that are explained at once.", hint="Send fewer rows.")
        found = await self._explaining.explain(served, rows, wish, budget_s)
        return json_reply({"model": served.version.name, "version": served.version.number, **found})
