"""Requests by what an OpenAPI document says of them, and whether answers are what it says; for the keywords that Fairlead's has.

`valid` gives a strategy of values that fit a schema, `conforms` says whether a value does: written apart, so that one checks the other.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_TEXT = st.text(max_size=8)
_PLAIN = {
    "string": _TEXT,
    "integer": st.integers(-(2**40), 2**40),
    "number": st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "null": st.none(),
}
ANYTHING = st.recursive(st.one_of(*_PLAIN.values()), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=3))
_KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def valid(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy:
    """Values that fit `schema`."""
    if "$ref" in schema:
        return valid(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of(*(_of_kind(kind, schema, document) for kind in kinds)) if kinds else ANYTHING


def _of_kind(kind: str, schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy:
    if kind == "object":
        return _objects(schema, document)
    if kind == "array":
        return st.lists(valid(schema.get("items", {}), document), min_size=schema.get("minItems", 0), max_size=4)
    if kind == "string":
        return st.text(min_size=schema.get("minLength", 0), max_size=max(min(schema.get("maxLength", 8), 8), schema.get("minLength", 0)))
    if kind == "integer" and "minimum" in schema:
        return st.integers(schema["minimum"], 2**40)
    return _PLAIN[kind]


@st.composite
def _objects(draw, schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    known, required = schema.get("properties", {}), schema.get("required", [])
    most = schema.get("maxProperties", 99)
    optional = [name for name in known if name not in required]
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=max(most - len(required), 0))) if optional else []
    if len(chosen) + len(required) < schema.get("minProperties", 0):
        chosen = [draw(st.sampled_from(optional))]
    value = {name: draw(valid(known[name], document)) for name in (*required, *chosen)}
    more = schema.get("additionalProperties", not known)
    if more and draw(st.booleans()):
        name = draw(_TEXT.filter(lambda text: text not in known))
        value[name] = draw(ANYTHING if more is True else valid(more, document))
    return value


def conforms(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether `value` fits `schema`."""
    if "$ref" in schema:
        return conforms(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    kinds = schema.get("type", [])
    if kinds and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        others = {name: more for name in value if name not in known}
        if more is False and others:
            return False
        return all(name in value for name in schema.get("required", ())) and all(
            conforms(value[name], form, document) for name, form in (known | others).items() if name in value and isinstance(form, dict)
        )
    if isinstance(value, list) and "items" in schema:
        return all(conforms(item, schema["items"], document) for item in value)
    return not isinstance(value, int) or isinstance(value, bool) or value >= schema.get("minimum", value)


def _is(value: Any, kind: str) -> bool:
    if kind in {"integer", "number"}:
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, _KINDS[kind])
