"""Rows for a PyTorch model that is open in this process: which sizes it takes, drawn rows of them, and its answers as arrays with names.

Takes an open model (what `security.torch_file` gives: `inputs`, `axes`, `limits`, `call`); gives tensors. Raises UnsupportedError where the
batch is fixed, where no rows can be drawn that the model runs on, and for answers that are no tensors. For the sandboxed worker only.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors, TensorSpec, shorten
from fairlead.engines.export_proof import BATCHES, LENGTHS
from fairlead.errors import DataError, UnsupportedError

# Two values for every free size, tried in this order; whether each free size gets one of its own.
_PAIRS = ((*LENGTHS, True), (*LENGTHS, False), (8, 16, False), (32, 64, False), (64, 96, False), (224, 256, False))
_DYNAMIC = "Export it with a free batch: torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))."


@dataclass(frozen=True)
class Rows:
    """Drawn rows for every batch size at each of two lengths (of one, where no size is free beside the batch)."""

    drawn: tuple[dict[str, Array], ...]
    example: dict[str, Array]


def check_batch(model: Any) -> str:
    """Return the name of the free size that is every input's batch."""
    names = {str(axes[0]) if axes and not isinstance(axes[0], int) else "" for axes in model.axes}
    if not model.inputs:
        raise UnsupportedError("The program takes no tensors.", hint="Export a module whose forward takes its rows.")
    if len(names) != 1 or not (batch := names.pop()).replace(".", "_").isidentifier():
        shown = ", ".join(spec.describe() for spec in model.inputs)
        raise UnsupportedError(f"The batch of the model is fixed, or not the same for all inputs: {shorten(shown, 300)}.", hint=_DYNAMIC)
    return batch


def draw_rows(model: Any) -> Rows:
    """Return rows that the model runs on, at batch sizes 3, 1 and 7 and, where a size is free, at two lengths."""
    batch = check_batch(model)
    problem = ""
    for first, second, is_own in _PAIRS:
        lengths = [_lengths(model, batch, length, is_own=is_own) for length in (first, second)]
        if not lengths[0]:
            lengths = lengths[:1]
        drawn = tuple(_draw(model, {**free, batch: count}) for free in lengths for count in BATCHES)
        try:
            for rows in (drawn[0], drawn[-1]):
                run(model, rows)
        except Exception as error:  # noqa: BLE001 - a model's own code raises whatever it likes for rows that it does not take
            problem = problem or _first_line(error)
            if not lengths[0]:
                break
            continue
        return Rows(drawn, drawn[0])
    shown = ", ".join(spec.describe() for spec in model.inputs)
    raise UnsupportedError(
        f"The model does not run on drawn rows of {shorten(shown, 300)}: {problem}.",
        hint="Check the types and shapes of its inputs; sizes that it needs as they are have to be given as numbers.",
    )


def _lengths(model: Any, batch: str, length: int, *, is_own: bool) -> dict[str, int]:
    """Return a value for every free size but the batch, within its limits."""
    names: list[str] = []
    for axes in model.axes:
        for size in axes:
            found = [size] if isinstance(size, str) else sorted(map(str, getattr(size, "free_symbols", ())))
            names += [name for name in found if name not in (*names, batch)]
    values = {}
    for place, name in enumerate(names):
        low, high = model.limits.get(name, (1, 2**31))
        values[name] = min(max(length + place * is_own, low), high)
    return values


def _draw(model: Any, values: Mapping[str, int]) -> dict[str, Array]:
    random = np.random.default_rng(sorted(values.values()))
    rows = {}
    for spec, axes in zip(model.inputs, model.axes, strict=True):
        sizes = [_size(size, values) for size in axes]
        drawn = random.normal(size=sizes) if spec.dtype.is_float else random.integers(0, 2, size=sizes)
        rows[spec.name] = np.asarray(drawn, dtype=spec.dtype.numpy)
    return rows


def _size(size: Any, values: Mapping[str, int]) -> int:
    if isinstance(size, int | str):
        return values[size] if isinstance(size, str) else size
    return int(size.subs({symbol: values[str(symbol)] for symbol in size.free_symbols}))


def run(model: Any, rows: Tensors) -> list[tuple[str, Any]]:
    """Return the outputs for `rows` as torch tensors, with names."""
    torch = importlib.import_module("torch")
    given = [torch.from_numpy(np.ascontiguousarray(rows[spec.name])) for spec in model.inputs]
    return name_outputs(model.call(given))


def name_outputs(answer: Any) -> list[tuple[str, Any]]:
    """Return the tensors in what a model gave, with names: the keys of a dict, `output`, or `output_<n>` of a tuple."""
    return _unique(list(_flatten(answer, "", importlib.import_module("torch").Tensor)))


def answer(model: Any, rows: Tensors) -> dict[str, Array]:
    """Return the outputs as arrays by name; raises DataError where the model itself refuses the rows."""
    try:
        found = run(model, rows)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:  # what PyTorch raises for rows that a layer does not take
        raise DataError(f"PyTorch refuses these rows: {_first_line(error)}.", hint="Send rows that the model itself takes.") from None
    return {name: to_array(tensor) for name, tensor in found}


def to_array(tensor: Any) -> Array:
    """Return a torch tensor as an array of its own."""
    return np.ascontiguousarray(tensor.detach().cpu().resolve_conj().resolve_neg().numpy())


def _flatten(value: Any, name: str, kind: type[Any]) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if isinstance(value, kind):
        yield name or "output", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{name}_{key}" if name else str(key), kind)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key, item in zip(value._fields, value, strict=True):
            yield from _flatten(item, f"{name}_{key}" if name else str(key), kind)
    elif isinstance(value, tuple | list):
        for place, item in enumerate(value):
            yield from _flatten(item, f"{name or 'output'}_{place}" if len(value) > 1 or name else "output", kind)
    else:
        raise UnsupportedError(f"The model gives a {type(value).__name__}.", hint="Return tensors, or tuples, lists or dicts of them.")


def _unique(outputs: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Give every output a valid name of its own."""
    named: list[tuple[str, Any]] = []
    for name, tensor in outputs:
        plain = "".join(char if char.isalnum() and char.isascii() else "_" for char in name)[:150]
        plain = plain if plain[:1].isalpha() or plain[:1] == "_" else f"_{plain}"
        taken, number = {other for other, _ in named}, 0
        candidate = plain
        while candidate in taken:
            number += 1
            candidate = f"{plain}_{number}"
        named.append((candidate, tensor))
    return named


def as_spec(name: str, dtype: DType, shape: Sequence[int | None]) -> TensorSpec:
    """Return an output's spec, with a free batch."""
    return TensorSpec(name, dtype, (None, *shape[1:]))


def _first_line(error: Exception) -> str:
    return shorten(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip("."), 200)
