"""Answers that give something for each row, as JSON, a piece of the rows at a time where there are many.

Takes a response's outputs and what makes JSON values of the rows in them; gives JSON. Law: written in pieces or at once, the JSON is the
same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fairlead.core.interface import Array
from fairlead.serve.steps import Steps, in_turn

_LONG_COUNT = 2**13  # numbers that take about a millisecond to write
_ENCODE = msgspec.json.Encoder().encode


async def rows_answer(outputs: dict[str, Array], make: Callable[[dict[str, Array]], Any]) -> Any:
    """Return `make(outputs)` to be written as JSON; where writing it takes long, it is written here, while others have their turns."""
    if sum(array.size for array in outputs.values()) <= _LONG_COUNT:
        return make(outputs)
    return await in_turn(written_in_steps(outputs, make))


def written_in_steps(outputs: dict[str, Array], make: Callable[[dict[str, Array]], Any], count: int = _LONG_COUNT) -> Steps[Any]:
    """Return `make(outputs)` as JSON: a list with an element for each row, or a mapping of such lists; anything else is made at once, and
    returned as it is.
    """
    rows = _row_count(outputs)
    taken = max(count * rows // max(sum(array.size for array in outputs.values()), 1), 1)
    parts: dict[str, list[bytes]] = {}
    is_list = True
    for place in range(0, rows, taken):
        value = make({name: array[place : place + taken] for name, array in outputs.items()})
        is_list = isinstance(value, list)
        lists = {"": value} if is_list else value
        size = min(taken, rows - place)
        if not isinstance(lists, dict) or not all(isinstance(item, list) and len(item) == size for item in lists.values()):
            return make(outputs)
        for name, item in lists.items():
            parts.setdefault(name, []).append(_ENCODE(item)[1:-1])
        yield
    if not parts:
        return make(outputs)
    joined = {name: msgspec.Raw(b"[%b]" % b",".join(item)) for name, item in parts.items()}
    return joined[""] if is_list else joined


def _row_count(outputs: Mapping[str, Array]) -> int:
    """Return how many rows all outputs have; 0 where they do not have equally many."""
    counts = {array.shape[0] if array.ndim else 0 for array in outputs.values()}
    return counts.pop() if len(counts) == 1 else 0
