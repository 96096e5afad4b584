"""JSON of a Keras file, read with limits of its own before any parser can be driven too deep.

Takes bytes, gives dicts, lists, strings and finite numbers. Raises SourceError for what is not JSON, too large, too deep, has a key
twice (two readers could then see two different models) or a number that is not finite.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError

SIZE_LIMIT_BYTES = 64 * 2**20
DEPTH_LIMIT = 100
_HINT = "The file is damaged or was not written by Keras. Save the model again."
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`; `what` names it in errors ("config.json")."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise SourceError(f"{what} has {len(data)} bytes.", hint=f"The limit is {SIZE_LIMIT_BYTES} bytes.")
    if (depth := _depth(data)) > DEPTH_LIMIT:
        raise SourceError(f"{what} is nested {depth} levels deep.", hint=f"The limit is {DEPTH_LIMIT} levels.")
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{what} is not the JSON that Keras writes: {shorten(str(error), 120)}.", hint=_HINT) from None
    if not isinstance(value, dict):
        raise SourceError(f"{what} is not a JSON object.", hint=_HINT)
    return value


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for match in _STRUCTURE.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > DEPTH_LIMIT:
                    return deepest
        elif first in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{shorten(double)}' is there twice")
    return result


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it holds the number {text}")
