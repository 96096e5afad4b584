"""The JSON of an exported program (.pt2), rebuilt value by value: torch gets only what this release knows to be harmless.

Takes parsed JSON, gives new JSON and what was found in it; raises UnsafeContentError for what could run code while torch loads it (guards
and shape expressions are evaluated, names are pasted into generated code, tree types are imported), UnsupportedError for what Fairlead
leaves out, SourceError for damage. Texts that only people read (stack traces, module names) are dropped; devices become the CPU.
https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/pt2_archive.html
"""

from __future__ import annotations

import functools
import keyword
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.security.torch_expressions import check_expression, check_guard, check_tree

SCHEMA_MAJOR = 8  # what torch 2.10 and later write
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_PATH = re.compile(r"[A-Za-z0-9_]{1,256}(\.[A-Za-z0-9_]{1,256}){0,31}")
_TARGET = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z][A-Za-z0-9_]*)")
_ARITHMETIC = (
    "add", "sub", "mul", "floordiv", "mod", "neg", "pos", "eq", "ne", "le", "lt", "ge", "gt", "and_", "or_", "truediv", "pow", "getitem",
)  # fmt: skip
_SYMBOLIC = frozenset(
    {f"_operator.{name}" for name in _ARITHMETIC}
    | {f"math.{name}" for name in ("ceil", "floor", "trunc", "sqrt")}
    | {f"torch.sym_{name}" for name in ("not", "max", "min", "float", "int", "ite", "sum")}
    | {f"torch.ops.higher_order.{name}" for name in ("cond", "while_loop", "wrap_with_set_grad_enabled")}
)
_FLOATS = ("Infinity", "-Infinity", "NaN")
_DEPTH_LIMIT = 8
_HARM = "No program that saves models writes this; do not use the file."
_DAMAGED = "The file is damaged, or of another release of PyTorch; save the model again with torch.export.save."
_LIST_FILE = Path(__file__).with_name("torch_operators.txt")


@functools.cache
def allowed_operators() -> frozenset[str]:
    """Return the names of the operators that a model may call."""
    lines = _LIST_FILE.read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


class ProgramCleaner:
    """Rebuilds one program. `devices` are those that were not the CPU, `operators` how often each is called."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.operators: Counter[str] = Counter()
        self._depth = 0

    def program(self, given: Any) -> dict[str, Any]:
        """Return the whole program, without guards."""
        known = "graph_module opset_version range_constraints schema_version verifiers torch_version guards_code"
        program = _fields(given, known)
        major = _fields(program["schema_version"], "major minor").get("major")
        if major != SCHEMA_MAJOR:
            raise UnsupportedError(
                f"The program has schema version {shorten(str(major))}; this release reads {SCHEMA_MAJOR}.",
                hint="Load it with the release of PyTorch that wrote it, and save it again with torch 2.10 or later.",
            )
        for guard in _list(program.get("guards_code", [])):
            check_guard(guard)
        ranges = {_symbol(name): self._range(item) for name, item in _mapping(program["range_constraints"]).items()}
        if not set(program.get("verifiers", ())) <= {"TRAINING", "ATEN"}:
            raise UnsupportedError("The program is of a dialect other than ATen.", hint="Save it right after torch.export.export.")
        return {
            "graph_module": self._graph_module(program["graph_module"]),
            "opset_version": {_name(key): _integer(value) for key, value in _mapping(program["opset_version"]).items()},
            "range_constraints": ranges,
            "schema_version": {key: _integer(value) for key, value in program["schema_version"].items()},
            "verifiers": list(program.get("verifiers", ())),
            "torch_version": shorten(str(program.get("torch_version", "")), 40),
            "guards_code": [],
        }

    def tensor_meta(self, given: Any) -> dict[str, Any]:
        """Return dtype, sizes, strides and offset of a tensor; its device becomes the CPU."""
        meta = _fields(given, "dtype sizes requires_grad device strides storage_offset layout")
        if meta["layout"] != 7:
            raise UnsupportedError("The program holds a sparse tensor.", hint="Make it dense before torch.export.export.")
        return {
            "dtype": _integer(meta["dtype"]),
            "sizes": [self._size(item) for item in _list(meta["sizes"])],
            "requires_grad": _boolean(meta["requires_grad"]),
            "device": self._device(meta["device"]),
            "strides": [self._size(item) for item in _list(meta["strides"])],
            "storage_offset": self._size(meta["storage_offset"]),
            "layout": 7,
        }

    def _range(self, given: Any) -> dict[str, Any]:
        limits = _fields(given, "min_val max_val")
        return {key: None if limits[key] is None else _integer(limits[key]) for key in ("min_val", "max_val")}

    def _graph_module(self, given: Any) -> dict[str, Any]:
        module = _fields(given, "graph signature module_call_graph metadata treespec_namedtuple_fields")
        if module.get("treespec_namedtuple_fields"):
            raise UnsupportedError("The program takes or gives a named tuple.", hint="Return a tuple or a dict instead, and export again.")
        signature = _fields(module["signature"], "input_specs output_specs")
        return {
            "graph": self._graph(module["graph"]),
            "signature": {
                "input_specs": [self._input_spec(item) for item in _list(signature["input_specs"])],
                "output_specs": [self._output_spec(item) for item in _list(signature["output_specs"])],
            },
            "module_call_graph": [self._call_entry(_list(module["module_call_graph"])[0])],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        }

    def _call_entry(self, given: Any) -> dict[str, Any]:
        entry = _fields(given, "fqn signature")
        signature = _fields(entry["signature"], "inputs outputs in_spec out_spec forward_arg_names")
        if entry["fqn"] != "":
            raise SourceError("The program does not say how it is called.", hint=_DAMAGED)
        for name in ("in_spec", "out_spec"):
            check_tree(signature[name])
        names = signature.get("forward_arg_names")
        return {
            "fqn": "",
            "signature": {
                "inputs": [],
                "outputs": [],
                "in_spec": signature["in_spec"],
                "out_spec": signature["out_spec"],
                "forward_arg_names": None if names is None else [_name(item) for item in _list(names)],
            },
        }

    def _graph(self, given: Any) -> dict[str, Any]:
        known = (
            "inputs outputs nodes tensor_values sym_int_values sym_bool_values is_single_tensor_return custom_obj_values sym_float_values"
        )
        graph = _fields(given, known)
        self._depth += 1
        if graph.get("custom_obj_values") or self._depth > _DEPTH_LIMIT:
            raise UnsupportedError("The program holds objects of own classes.", hint="Export a module that works on tensors only.")
        clean = {
            "inputs": [self._argument(item) for item in _list(graph["inputs"])],
            "outputs": [self._argument(item) for item in _list(graph["outputs"])],
            "nodes": [self._node(item) for item in _list(graph["nodes"])],
            "tensor_values": {_name(key): self.tensor_meta(item) for key, item in _mapping(graph["tensor_values"]).items()},
            "is_single_tensor_return": _boolean(graph.get("is_single_tensor_return", False)),
            "custom_obj_values": {},
        }
        for kind in ("sym_int_values", "sym_bool_values", "sym_float_values"):
            clean[kind] = {_name(key): self._size(item) for key, item in _mapping(graph.get(kind, {})).items()}
        self._depth -= 1
        return clean

    def _node(self, given: Any) -> dict[str, Any]:
        node = _fields(given, "target inputs outputs metadata is_hop_single_tensor_return name")
        target = _text(node["target"])
        found = _TARGET.fullmatch(target)
        if target not in _SYMBOLIC and (found is None or found[1] not in allowed_operators() or found[2].endswith("out")):
            raise UnsafeContentError(
                f"The program is not opened: operator {shorten(target, 120)} is not on the allow-list.",
                hint="Operators of namespace aten that compute on tensors are read; convert the model to ONNX where it was trained.",
            )
        self.operators[found[1] if found else target.rpartition(".")[2]] += 1
        single = node.get("is_hop_single_tensor_return")
        name = node.get("name")
        return {
            "target": target,
            "inputs": [self._named_argument(item) for item in _list(node["inputs"])],
            "outputs": [self._argument(item) for item in _list(node["outputs"])],
            "metadata": {},
            "is_hop_single_tensor_return": None if single is None else _boolean(single),
            "name": None if name is None else _name(name),
        }

    def _named_argument(self, given: Any) -> dict[str, Any]:
        named = _fields(given, "name arg kind")
        name = _text(named["name"])
        kind = named.get("kind")
        plain = {"name": _name(name) if name else "", "arg": self._argument(named["arg"])}
        return plain | {"kind": None if kind is None else _integer(kind)}

    def _argument(self, given: Any) -> dict[str, Any]:
        kind, value = _union(given)
        clean = _ARGUMENTS.get(kind)
        if clean is None:
            raise UnsupportedError(
                f"The program passes a value of kind '{shorten(kind)}'.", hint="Export a module that works on tensors only."
            )
        return {kind: clean(self, value)}

    def _graph_argument(self, given: Any) -> dict[str, Any]:
        inner = _fields(given, "name graph")
        return {"name": _name(inner["name"]), "graph": self._graph(inner["graph"])}

    def _device(self, given: Any) -> dict[str, Any]:
        device = _fields(given, "type index")
        kind, index = _text(device["type"]), device.get("index")
        if kind not in ("cpu", "cuda", "mps", "xpu"):
            raise UnsupportedError(f"The program wants the device '{shorten(kind)}'.", hint="Move the model to the CPU before the export.")
        if kind != "cpu":
            self.devices.add(kind if index is None else f"{kind}:{_integer(index)}")
        return {"type": "cpu", "index": None}

    def _size(self, given: Any) -> dict[str, Any]:
        """A size: a number, or an expression with a hint."""
        kind, value = _union(given)
        if kind != "as_expr":
            return {kind: _SCALARS[kind](value)}
        expression = _fields(value, "expr_str hint")
        text, hint = _text(expression["expr_str"]), expression.get("hint")
        check_expression(text)
        if hint is not None:
            hint_kind, hint_value = _union(hint)
            hint = {hint_kind: _SCALARS[hint_kind](hint_value)}
        return {"as_expr": {"expr_str": text, "hint": hint}}

    def _input_spec(self, given: Any) -> dict[str, Any]:
        kind, value = _union(given)
        if kind == "user_input":
            return {kind: {"arg": self._argument(_fields(value, "arg")["arg"])}}
        if kind == "constant_input":
            constant = _fields(value, "name value")
            inner, plain = _union(constant["value"])
            return {kind: {"name": _name(constant["name"]), "value": {inner: _SCALARS[inner](plain)}}}
        if kind not in ("parameter", "buffer", "tensor_constant"):
            raise UnsupportedError(
                f"The program has an input of kind '{shorten(kind)}'.", hint="Export a module that works on tensors only."
            )
        target = f"{kind}_name"
        spec = _fields(value, f"arg {target} persistent")
        clean = {"arg": _tensor(spec["arg"]), target: _path(spec[target])}
        return {kind: clean | ({"persistent": _boolean(spec["persistent"])} if kind == "buffer" else {})}

    def _output_spec(self, given: Any) -> dict[str, Any]:
        kind, value = _union(given)
        if kind != "user_output":
            raise UnsupportedError(
                f"The program changes something beside its outputs ({shorten(kind)}): it was exported in training mode, or keeps a state.",
                hint="Call model.eval() before torch.export.export.",
            )
        return {kind: {"arg": self._argument(_fields(value, "arg")["arg"])}}


def _fields(given: Any, known: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise SourceError("The program's JSON has a value where an object belongs.", hint=_DAMAGED)
    unknown = set(given) - set(known.split())
    if unknown:
        raise UnsupportedError(
            f"The program has fields that this release does not know: {shorten(str(sorted(map(str, unknown))))}.", hint=_DAMAGED
        )
    return given


def _union(given: Any) -> tuple[str, Any]:
    if not isinstance(given, dict) or len(given) != 1:
        raise SourceError("The program's JSON has a value of no kind, or of two.", hint=_DAMAGED)
    ((kind, value),) = given.items()
    return str(kind), value


def _mapping(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise SourceError("The program's JSON has a value where an object belongs.", hint=_DAMAGED)
    return given


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise SourceError("The program's JSON has a value where a list belongs.", hint=_DAMAGED)
    return given


def _text(given: Any) -> str:
    if not isinstance(given, str) or len(given) > 4096:
        raise SourceError("The program's JSON has a value where a text belongs.", hint=_DAMAGED)
    return given


def _integer(given: Any) -> int:
    if type(given) is not int or not -(2**63) <= given < 2**63:
        raise SourceError("The program's JSON has a value where a whole number belongs.", hint=_DAMAGED)
    return given


def _boolean(given: Any) -> bool:
    if not isinstance(given, bool):
        raise SourceError("The program's JSON has a value where true or false belongs.", hint=_DAMAGED)
    return given


def _float(given: Any) -> float | int | str:
    if given in _FLOATS or (isinstance(given, int | float) and not isinstance(given, bool)):
        number: float | int | str = given
        return number
    raise SourceError("The program's JSON has a value where a number belongs.", hint=_DAMAGED)


def _name(given: Any) -> str:
    """A name that torch pastes into generated code: an identifier and nothing else."""
    name = _text(given)
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UnsafeContentError(f"The program names a value '{shorten(name)}', which is no identifier.", hint=_HARM)
    return name


def _path(given: Any) -> str:
    path = _text(given)
    if not _PATH.fullmatch(path):
        raise UnsafeContentError(f"The program names a weight '{shorten(path)}', which is no path of identifiers.", hint=_HARM)
    return path


def _symbol(given: Any) -> str:
    check_expression(_text(given))
    return _text(given)


def _tensor(given: Any) -> dict[str, Any]:
    return {"name": _name(_fields(given, "name")["name"])}


def _symbolic(given: Any) -> dict[str, Any]:
    kind, value = _union(given)
    return {kind: _name(value) if kind == "as_name" else _SCALARS[kind](value)}


def _optional_tensor(given: Any) -> dict[str, Any]:
    kind, value = _union(given)
    return {"as_tensor": _tensor(value)} if kind == "as_tensor" else {"as_none": _boolean(value)}


def _many(clean: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: [clean(item) for item in _list(given)]


def _plain(clean: Callable[[Any], Any]) -> Callable[[ProgramCleaner, Any], Any]:
    return lambda _, given: clean(given)


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "as_none": _boolean, "as_bool": _boolean, "as_int": _integer, "as_float": _float, "as_string": _text,
}  # fmt: skip
_PLAIN_ARGUMENTS: Sequence[tuple[str, Callable[[Any], Any]]] = (
    *_SCALARS.items(),
    ("as_tensor", _tensor),
    ("as_tensors", _many(_tensor)),
    ("as_ints", _many(_integer)),
    ("as_floats", _many(_float)),
    ("as_strings", _many(_text)),
    ("as_bools", _many(_boolean)),
    ("as_sym_int", _symbolic),
    ("as_sym_ints", _many(_symbolic)),
    ("as_sym_bool", _symbolic),
    ("as_sym_bools", _many(_symbolic)),
    ("as_sym_float", _symbolic),
    ("as_sym_floats", _many(_symbolic)),
    ("as_scalar_type", _integer),
    ("as_memory_format", _integer),
    ("as_layout", _integer),
    ("as_optional_tensor", _optional_tensor),
    ("as_optional_tensors", _many(_optional_tensor)),
    ("as_nested_tensors", _many(_many(_tensor))),
    ("as_int_lists", _many(_many(_integer))),
    ("as_float_lists", _many(_many(_float))),
)
_ARGUMENTS: Mapping[str, Callable[[ProgramCleaner, Any], Any]] = {
    **{kind: _plain(clean) for kind, clean in _PLAIN_ARGUMENTS},
    "as_device": ProgramCleaner._device,  # noqa: SLF001 - of this module
    "as_graph": ProgramCleaner._graph_argument,  # noqa: SLF001 - likewise
}
