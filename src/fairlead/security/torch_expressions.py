"""Texts of an exported program that torch evaluates: shape expressions and the trees of its arguments, held to a grammar.

Takes the text; gives nothing. Raises UnsafeContentError for whatever is not arithmetic on sizes, and for a container that Fairlead
leaves out. torch hands expressions to sympy, which evaluates them as Python, and imports the types that a tree names.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError

_SYMBOL = re.compile(r"[a-z]{1,8}[0-9]{1,8}")
_FUNCTIONS = frozenset((
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv",
    "ModularIndexing", "Where", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "TruncToFloat", "FloorToInt", "CeilToInt",
    "RoundToInt", "Identity", "PowByNatural", "Equality", "Unequality", "Eq", "Ne", "StrictLessThan", "LessThan", "StrictGreaterThan",
    "GreaterThan", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling",
))  # fmt: skip
_CONSTANTS = ("true", "false", "oo", "int_oo")
_ASSUMPTIONS = frozenset(("positive", "integer", "negative", "nonnegative", "real", "zero", "finite"))
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_GUARD_CALLS = frozenset(
    ("size", "stride", "storage_offset", "dim", "numel", "len", "isinstance", "isnan", "Max", "Min", "Mod", "FloorDiv")
)
_LENGTH_LIMIT, _NODE_LIMIT, _TREE_LIMIT = 4000, 500, 2000
_CONTAINERS = ("builtins.tuple", "builtins.list")
_MAPPINGS = ("builtins.dict", "collections.OrderedDict")
_HARM = "No program that saves models writes this; do not use the file."


def check_expression(text: str) -> None:
    """Raise UnsafeContentError unless `text` is arithmetic on symbols such as s77 and on numbers."""
    try:
        nodes = list(ast.walk(ast.parse(text[: _LENGTH_LIMIT + 1], mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refusal(text) from None
    if len(text) > _LENGTH_LIMIT or len(nodes) > _NODE_LIMIT or not all(map(_is_arithmetic, nodes)):
        raise _refusal(text)


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or node.id in _CONSTANTS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Constant):
        return _is_number(node.value) or (isinstance(node.value, str) and bool(_SYMBOL.fullmatch(node.value)))
    if isinstance(node, ast.keyword):
        return node.arg in _ASSUMPTIONS and isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Expression | ast.BinOp | ast.UnaryOp | ast.Compare | ast.Load | _union(_OPERATORS) | _union(_COMPARISONS))


def _union(kinds: tuple[Any, ...]) -> Any:
    united = kinds[0]
    for kind in kinds[1:]:
        united |= kind
    return united


def _is_number(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 2**63)


def _refusal(text: str) -> UnsafeContentError:
    return UnsafeContentError(f"The program has the size '{shorten(text)}', which is no arithmetic on sizes.", hint=_HARM)


def check_guard(text: Any) -> None:
    """Raise UnsafeContentError unless `text` compares sizes and types of inputs; it is left out in any case, for torch would run it."""
    try:
        nodes = list(ast.walk(ast.parse(str(text)[: _LENGTH_LIMIT + 1], mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        nodes = []
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls]
    if not nodes or len(str(text)) > _LENGTH_LIMIT or not set(names) <= _GUARD_CALLS:
        raise UnsafeContentError(f"The program carries the guard '{shorten(str(text))}', which torch would run.", hint=_HARM)


def check_tree(text: Any) -> None:
    """Raise unless `text` describes tuples, lists and dicts of tensors: torch imports whatever other type a tree names."""
    try:
        protocol, root = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise SourceError("The program does not say how it is called.", hint="Save the model again with torch.export.save.") from None
    pending, seen = [root], 0
    while pending:
        node, seen = pending.pop(), seen + 1
        is_sound = isinstance(node, dict) and set(node) == {"type", "context", "children_spec"} and isinstance(node["children_spec"], list)
        if protocol != 1 or not is_sound or seen > _TREE_LIMIT:
            raise UnsafeContentError("The program's tree of arguments is not what torch writes.", hint=_HARM)
        _check_node(node)
        pending += node["children_spec"]


def _check_node(node: dict[str, Any]) -> None:
    kind, context = node["type"], node["context"]
    if kind is None:
        is_plain = context is None and not node["children_spec"]
    elif kind in _CONTAINERS:
        is_plain = context == "null"
    elif kind in _MAPPINGS:
        is_plain = _is_list_of_keys(context)
    else:
        raise UnsafeContentError(  # torch would import it
            f"The program takes or gives a {shorten(str(kind))}.",
            hint="Return tensors, tuples, lists or dicts from forward, and export again.",
        )
    if not is_plain:
        raise UnsafeContentError("The program's tree of arguments carries more than names.", hint=_HARM)


def _is_list_of_keys(context: Any) -> bool:
    try:
        keys = json.loads(context)
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(keys, list) and all(isinstance(key, str | int) for key in keys)
