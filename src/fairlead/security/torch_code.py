"""The code in a TorchScript archive, looked at as text: which operators it calls, which classes it declares, which devices it names.

Takes the text of one `code/` member; gives what was found. Raises UnsafeContentError for an operator that is not on the allow-list and for
code that runs while a model is loaded (`__setstate__`), SourceError for text that is no TorchScript. Nothing is compiled here; what torch
makes of the code is checked once more, operator by operator, before it runs (`security.torch_file`).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError
from fairlead.security.torch_program import allowed_operators

# prim:: operators that the code may name; the others are made by torch itself, or reach outside (rpc, PythonOp, Print).
PRIMITIVES = frozenset((
    "RaiseException", "unchecked_cast", "unchecked_unwrap_optional", "NumToTensor", "device", "dtype", "layout", "is_cuda", "is_cpu",
    "is_sparse", "is_mkldnn", "is_quantized", "is_meta", "requires_grad", "data", "min", "max", "abs", "tolist", "type", "name", "itemsize",
    "rangelist", "StringIndex", "TupleIndex", "TupleUnpack", "Uninitialized", "index", "nbytes", "EnumName", "EnumValue", "is_nested",
    "is_mps", "is_xla", "is_xpu", "is_vulkan", "is_ipu", "is_maia", "is_mtia", "is_sparse_csr",
))  # fmt: skip
_RUN_AT_LOADING = ("__setstate__", "__getstate__", "__init__", "__del__")
_DEVICE = re.compile(r"""torch\.device\("((?:cuda|mps|xpu)(?::[0-9]{1,3})?)"\)""")
_DAMAGED = "The file is damaged; save the model again with torch.jit.save."


@dataclass(frozen=True)
class Code:
    """`classes` are declared in the text; `text` names no device but the CPU, `devices` are those that it named."""

    text: str
    classes: tuple[str, ...]
    devices: frozenset[str]


def check_code(data: bytes, where: str) -> Code:
    """Return what the code in the member `where` declares."""
    try:
        text = data.decode("utf-8")
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"Member '{shorten(where)}' is no TorchScript ({type(error).__name__}).", hint=_DAMAGED) from None
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            raise UnsafeContentError(f"Member '{shorten(where)}' imports something.", hint=_DAMAGED)
        if isinstance(node, ast.FunctionDef) and node.name in _RUN_AT_LOADING:
            raise UnsafeContentError(
                f"The model file is not opened: {node.name} in '{shorten(where)}' runs while the model is loaded.",
                hint="Quantized and packed modules do this; export the float model instead.",
            )
        if isinstance(node, ast.Attribute):
            _check_attribute(node, where)
    classes = tuple(node.name for node in tree.body if isinstance(node, ast.ClassDef))
    return Code(_DEVICE.sub('torch.device("cpu")', text), classes, frozenset(_DEVICE.findall(text)))


def _check_attribute(node: ast.Attribute, where: str) -> None:
    """Refuse operators by their full name: torch.x and ops.aten.x are operators of namespace aten, ops.prim.x of namespace prim."""
    parts = _dotted(node)
    if parts[:1] == ["torch"] and len(parts) == 2:
        is_allowed = parts[1] in allowed_operators() or parts[1] in PRIMITIVES
    elif parts[:1] == ["ops"] and len(parts) == 3:
        is_allowed = parts[2] in {"aten": allowed_operators(), "prim": PRIMITIVES}.get(parts[1], frozenset())
    elif parts[:3] == ["__torch__", "torch", "classes"]:
        is_allowed = False
    else:
        is_allowed = True  # an attribute, a method or a function of the file's own; torch resolves it, and its graph is checked
    if not is_allowed:
        raise UnsafeContentError(
            f"The model file is not opened: {shorten('.'.join(parts), 120)} in '{shorten(where)}' is not on the allow-list.",
            hint="Operators of namespace aten that compute on tensors are read; convert the model to ONNX where it was trained.",
        )


def _dotted(node: ast.expr) -> list[str]:
    """Return the names of `a.b.c`; [] where it begins with something else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return [*before, node.attr] if before else []
    return []
