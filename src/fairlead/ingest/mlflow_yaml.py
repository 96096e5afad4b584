"""The text of an MLmodel file -> plain data, bounded in size, depth and number of values. For the sandboxed worker.

Takes bytes, gives dicts, lists, texts, numbers and booleans. Raises SourceError for what is no YAML or beyond a bound, UnsafeContentError
for tags, which ask a YAML reader to build objects. Never builds an object, never copies what an alias stands for.
"""

from __future__ import annotations

from typing import Any

import yaml

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError

SIZE_LIMIT_BYTES = 2 * 2**20
_VALUE_LIMIT, _DEPTH_LIMIT = 100_000, 40
_HINT = "Save the model again with MLflow."
# What YAML's plain scalars may become. Dates are left as text, as they stand.
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map"))
_DATE_TAG = "tag:yaml.org,2002:timestamp"


def parse_yaml(data: bytes) -> dict[str, Any]:
    """Return the mapping that `data` holds; every key is text."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise SourceError(f"The MLmodel file has {len(data)} bytes; the limit is {SIZE_LIMIT_BYTES}.", hint=_HINT)
    try:
        loader = _PlainLoader(data.decode("utf-8"))
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SourceError(f"The MLmodel file is not YAML: {_first_line(error)}.", hint=_HINT) from None
    if not isinstance(value, dict):
        raise SourceError("The MLmodel file holds no keys and values.", hint=_HINT)
    _check_bounds(value)
    return value


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without dates and doubled keys, to which a merge key (<<) is a name like any other; written tags are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if not self.check_event(yaml.AliasEvent):
            tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
            if tag is not None and tag not in _PLAIN_TAGS:
                raise UnsafeContentError(f"The MLmodel file has the YAML tag '{shorten(str(tag))}'.", hint=_HINT)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(node.value) or len(set(keys)) != len(keys):
            raise yaml.MarkedYAMLError(problem="a key is given twice or is no text", problem_mark=node.start_mark)
        return {str(key): self.construct_object(value, deep=deep) for key, (_, value) in zip(keys, node.value, strict=True)}


_PlainLoader.add_constructor(_DATE_TAG, lambda _, node: node.value)


def _check_bounds(value: Any) -> None:
    """Raise SourceError where the values, aliases written out, are too many or too deep."""
    left = _VALUE_LIMIT
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        left -= 1
        if left < 0 or depth > _DEPTH_LIMIT:
            raise SourceError(
                f"The MLmodel file holds more than {_VALUE_LIMIT} values, or is nested deeper than {_DEPTH_LIMIT}.", hint=_HINT
            )
        if isinstance(item, dict):
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = shorten(getattr(error, "problem", None) or str(error).partition("\n")[0], 200)
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem
