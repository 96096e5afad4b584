"""What decisions are worth, from a .yaml or .json file.

    unit: EUR
    right: 1            a right decision, where nothing else is said
    wrong: -5           a wrong one
    values:             what is right: what was said: its value
      fraud: {ok: -100}
      ok: {fraud: -2}

Takes a path; gives a CostMatrix. Raises SpecError that names the key.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

from fairlead.core.interface import shorten
from fairlead.core.outcome import CostMatrix
from fairlead.errors import SpecError
from fairlead.monitor.quality.labels import plain_text

_KEYS = ("unit", "right", "wrong", "values")
_HINT = "Write it like docs/reference/quality.md shows."
_LIMIT_BYTES = 2**20


def read_costs(path: Path) -> CostMatrix:
    """Return what a file says."""
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT_BYTES).decode()
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise SpecError(f"The values in '{path.name}' cannot be read: {reason}.", hint=_HINT) from None
    if not isinstance(found, dict):
        raise SpecError(f"'{path.name}' holds no values of decisions.", hint=_HINT)
    unknown = [key for key in found if key not in _KEYS]
    if unknown:
        raise SpecError(f"'{shorten(str(unknown[0]))}' in '{path.name}' is no key.", hint=f"Keys: {', '.join(_KEYS)}.")
    values = found.get("values") or {}
    if not isinstance(values, dict) or not all(isinstance(row, dict) for row in values.values()):
        raise SpecError(f"'values' in '{path.name}' is not: what is right: what was said: its value.", hint=_HINT)
    entries = {
        plain_text(right): {plain_text(said): _number(value, f"values.{right}.{said}") for said, value in row.items()}
        for right, row in values.items()
    }
    if not entries and "right" not in found and "wrong" not in found:
        raise SpecError(f"'{path.name}' gives no decision a value.", hint=_HINT)
    return CostMatrix(
        entries, _number(found.get("right", 0.0), "right"), _number(found.get("wrong", 0.0), "wrong"), str(found.get("unit") or "")[:20]
    )


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"'{shorten(key)}' is no finite number.", hint=_HINT)
    return float(value)
