"""What a PyTorch model takes, gives and decides, seen by running it on drawn rows of three batch sizes and two lengths.

Takes an open model, gives an Interface. Raises UnsupportedError for a model whose answers do not have one row per row that was asked,
depend on the other rows, or differ when it is asked again. For the sandboxed worker only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, TensorSpec, shorten
from fairlead.engines.torch_rows import Rows, as_spec, draw_rows, run, to_array
from fairlead.errors import UnsupportedError
from fairlead.security.torch_file import element_type

# Operators that hand values on as they are; the second group may change the shape.
_SAME = ("alias", "clone", "detach", "_to_copy", "contiguous", "lift_fresh")
_RESHAPED = ("view", "_unsafe_view", "squeeze", "reshape", "_reshape_alias", "unsqueeze", "flatten")
_TOLERANCE = 1e-4
_TRAINING = "Call model.eval() before you save the model."


def describe(model: Any) -> tuple[Interface, Rows]:
    """Return the interface of an open model, and the rows that showed it."""
    rows = draw_rows(model)
    answers = [{name: to_array(tensor) for name, tensor in run(model, asked)} for asked in rows.drawn]
    kinds = {name: element_type(tensor.dtype) for name, tensor in run(model, rows.example)}
    inputs = tuple(_input(model, place, rows) for place in range(len(model.inputs)))
    if not kinds or any(list(found) != list(kinds) for found in answers):
        raise UnsupportedError("The model gives no outputs, or other outputs for other sizes.", hint="Return the same tensors always.")
    names = {spec.name for spec in inputs}
    if names & set(kinds):
        raise UnsupportedError(f"An input and an output are both called '{min(names & set(kinds))}'.", hint="Give the output another key.")
    outputs = tuple(as_spec(name, kinds[name], _shape(name, rows.drawn, answers)) for name in kinds)
    _check_again(model, rows.drawn[-1], answers[-1])
    _check_rows(model, rows.drawn[-1], answers[-1])
    task, decision = decide(model, rows.example, outputs)
    return Interface(inputs, outputs, task, decision), rows


def _input(model: Any, place: int, rows: Rows) -> TensorSpec:
    spec = model.inputs[place]
    return TensorSpec(spec.name, spec.dtype, (None, *spec.shape[1:]), _columns(spec, rows.example[spec.name]))


def _columns(spec: TensorSpec, example: Array) -> tuple[str, ...]:
    return spec.columns if example.ndim == 2 and len(spec.columns) == example.shape[1] else ()


def _shape(name: str, asked: Sequence[Mapping[str, Array]], answers: Sequence[Mapping[str, Array]]) -> list[int | None]:
    """Return an output's sizes, None where they change with a length; the first has to be the batch, and only the first."""
    shapes = [found[name].shape for found in answers]
    counts = [len(next(iter(rows.values()))) for rows in asked]
    groups: dict[tuple[tuple[int, ...], ...], set[tuple[int, ...]]] = {}
    for rows, shape, count in zip(asked, shapes, counts, strict=True):
        if len(shape) != len(shapes[0]) or shape[:1] != (count,):
            raise UnsupportedError(
                f"Output '{shorten(name)}' of {count} rows has shape {list(shape)}: it does not have one answer per row.",
                hint="Return tensors whose first dimension is the batch, and nothing else.",
            )
        groups.setdefault(tuple(tensor.shape[1:] for tensor in rows.values()), set()).add(shape[1:])
    if any(len(found) > 1 for found in groups.values()):
        raise UnsupportedError(f"The shape of output '{shorten(name)}' changes with the number of rows.", hint="Answer each row alone.")
    sizes = zip(*shapes, strict=True)
    return [found[0] if len(set(found)) == 1 else None for found in sizes]


def _check_again(model: Any, asked: Mapping[str, Array], before: Mapping[str, Array]) -> None:
    for name, tensor in run(model, asked):
        if not np.array_equal(to_array(tensor), before[name], equal_nan=before[name].dtype.kind == "f"):
            raise UnsupportedError(f"Output '{shorten(name)}' differs when the same rows are asked again.", hint=_TRAINING)


def _check_rows(model: Any, asked: Mapping[str, Array], together: Mapping[str, Array]) -> None:
    """Each row's answer depends on that row alone: not so in training mode, where a batch is normalized by itself."""
    for place in range(len(next(iter(asked.values())))):
        for name, tensor in run(model, {key: rows[place : place + 1] for key, rows in asked.items()}):
            if not _is_close(to_array(tensor), together[name][place : place + 1]):
                raise UnsupportedError(f"Output '{shorten(name)}' of a row depends on the other rows of its batch.", hint=_TRAINING)


def _is_close(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))


def decide(model: Any, rows: Mapping[str, Array], outputs: Sequence[TensorSpec]) -> tuple[Task | None, Decision | None]:
    """Return the task where the last operator tells it: softmax over the last of two sizes, or the sigmoid of one score per row."""
    if len(outputs) != 1:
        return None, None
    operator, axis = _last_operator(model, rows)
    (output,) = outputs
    size = output.shape[-1] if len(output.shape) > 1 else 1
    if operator in ("_softmax", "_log_softmax") and len(output.shape) == 2 and axis in (-1, 1) and size != 1:
        return Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, output.name, scores=output.name if operator == "_softmax" else "")
    if operator == "sigmoid" and len(output.shape) <= 2 and size == 1:
        return Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, output.name, scores=output.name, threshold=0.5)
    return None, None


def _last_operator(model: Any, rows: Mapping[str, Array]) -> tuple[str, int]:
    """Return the operator that made the only output, and the axis that it was given (0 where it has none)."""
    made: dict[int, tuple[str, tuple[Any, ...]]] = {}
    kept: list[Any] = []  # a tensor that is gone may give its id to another

    class Watch(importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode):  # type: ignore[misc] # see start_torch
        """Notes which operator made which tensor."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Run the operator and note its first result."""
            result = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            if not (args and result is args[0] and name in (*_SAME, *_RESHAPED)):  # one that hands on the very tensor made nothing
                kept.append((result, args))
                made[id(result)] = (name, args)
            return result

    with Watch():
        ((_, tensor),) = run(model, rows)
    operator, given = made.get(id(tensor), ("", ()))
    is_reshaped = False
    while operator in (*_SAME, *_RESHAPED):
        is_reshaped = is_reshaped or operator in _RESHAPED
        operator, given = made.get(id(given[0]), ("", ()))
    if "softmax" in operator:
        return ("", 0) if is_reshaped else (operator, int(given[1]))
    return operator, 0
