"""What is unsafe in a .tflite file, found without TensorFlow or LiteRT.

Takes a path or a parsed model, gives findings: every operator, in every subgraph, is one of the built-in ones in tflite_operators.txt.
Custom operators are code that is not in the file; TensorFlow's own ("Flex") would run with all of TensorFlow. Never opens the file with a
library.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from fairlead.core.artifact import Finding
from fairlead.core.interface import shorten
from fairlead.errors import UnsafeContentError
from fairlead.security.tflite_file import LiteModel, LiteOperator, read_tflite

_LIST_FILE = Path(__file__).with_name("tflite_operators.txt")
_CUSTOM = 32
_FINDING_LIMIT = 50


@functools.cache
def allowed_operators() -> dict[int, str]:
    """Return number -> name of the operators that a .tflite file may use."""
    lines = _LIST_FILE.read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {int(number): name for name, number in pairs}


def open_tflite(path: Path) -> LiteModel:
    """Return the parsed file."""
    return read_tflite(memoryview(path.read_bytes()))


def operator_name(operator: LiteOperator) -> str:
    """Return an operator's name; custom ones are named as the file does."""
    if operator.code == _CUSTOM:
        return f"custom operator {shorten(operator.custom) or 'without a name'}"
    return allowed_operators().get(operator.code, f"operator number {operator.code}")


def check_tflite(model: LiteModel) -> tuple[Finding, ...]:
    """Return what is unsafe in the model."""
    found = {
        f"{operator_name(item)} is not on the allow-list": None
        for graph in model.graphs
        for item in graph.operators
        if item.code not in allowed_operators()
    }
    return tuple(Finding(is_unsafe=True, what=what) for what in list(found)[:_FINDING_LIMIT])


def require_safe(findings: Iterable[Finding]) -> None:
    """Raise UnsafeContentError that names what is unsafe."""
    unsafe = [finding.what for finding in findings if finding.is_unsafe]
    if unsafe:
        raise UnsafeContentError(
            f"The .tflite file is not opened: {'; '.join(unsafe[:5])}.",
            hint="Convert the model with built-in operators only (without SELECT_TF_OPS and allow_custom_ops).",
        )
