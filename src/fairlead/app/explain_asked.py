"""What a client of a server asks an explainer, and the answer as JSON values.

Takes the words of a request, rows and an Explainer. Raises RequestError for a wish that makes no sense, and what the explainer raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.app.explain_model import Explainer, Wish
from fairlead.core.interface import Tensors
from fairlead.errors import RequestError, SpecError
from fairlead.stores.document import to_plain

_KINDS = ("explanation", "counterfactual", "rule")


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say."""

    kind: str = "explanation"
    of: str | int | None = None
    to: str | int | float | None = None
    keep: list[str] = []
    method: str = ""
    seed: int = 0


def answer(explainer: Explainer, rows: Tensors, wish: Mapping[str, Any], budget_s: float) -> dict[str, Any]:
    """Return what was asked, as JSON values."""
    asked = _asked(wish)
    said = Wish(
        asked.method,
        None if asked.of is None else str(asked.of),
        tuple(asked.keep),
        None if asked.to is None else str(asked.to),
        budget_s,
        asked.seed,
    )
    try:
        if asked.kind == "counterfactual":
            return {"counterfactuals": to_plain(explainer.counterfactuals(rows, said))}
        if asked.kind == "rule":
            return {"rules": to_plain(explainer.rules(rows, said))}
        return {"explanations": to_plain(explainer.explain(rows, said))}
    except SpecError as error:  # what a flag's mistake is at a terminal is a request's mistake here
        raise RequestError(error.message, hint=error.hint) from None


def _asked(wish: Mapping[str, Any]) -> _Asked:
    try:
        asked = msgspec.convert(dict(wish), _Asked)
    except msgspec.ValidationError as error:
        raise RequestError(
            f"What is asked does not have the form that is needed: {error}.", hint="See docs/reference/explaining.md."
        ) from None
    if asked.kind not in _KINDS:
        raise RequestError("That kind of explanation is not offered.", hint=f"There are: {', '.join(_KINDS)}.")
    return asked
