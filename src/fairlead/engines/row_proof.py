"""The proof that each row's answer depends on that row alone: a model run in batches against a model run row by row, on drawn rows.

Takes paths of checked ONNX files; gives "" or the reason. For the sandboxed worker. Raises SourceError where the runtime cannot load a
file. Never decides what follows from the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec, shorten
from fairlead.engines.onnxruntime_engine import open_session, session_specs

BATCHES = (1, 2, 7)
FREE_LENGTHS = (8, 1, 32, 224)  # tried for sizes that the model leaves open
RUN_ERRORS = (ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.RuntimeException, ort_errors.NotImplemented)
NOT_TRIED = "no rows could be drawn that it accepts"
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5  # another batch may take another kernel, which adds in another order


def prove_rows(reference: Path, candidate: Path, block: int) -> str:
    """Return "" where `candidate` answers batches of 1, 2 and 7 as `reference` answers the same rows `block` at a time, else the reason."""
    first, second = (open_session(path, thread_count=1, optimization="basic") for path in (reference, candidate))
    specs, outputs = session_specs(first)
    names = [spec.name for spec in outputs]
    for length in FREE_LENGTHS:
        rows = {spec.name: draw(spec, BATCHES[-1] * block, length) for spec in specs}
        try:
            parts = [first.run(names, _take(rows, start, start + block)) for start in range(0, BATCHES[-1] * block, block)]
        except RUN_ERRORS:
            continue
        if any(part[index].shape[:1] != (block,) for part in parts for index in range(len(names))):
            return "an output does not have one answer per row"
        wanted = [np.concatenate([part[index] for part in parts]) for index in range(len(names))]
        return _compare(second, rows, names, wanted)
    return NOT_TRIED


def _compare(session: Any, rows: Mapping[str, Array], names: list[str], wanted: list[Array]) -> str:
    for batch in BATCHES:
        try:
            got = session.run(names, _take(rows, 0, batch))
        except RUN_ERRORS:
            return f"a batch of {batch} does not run"
        for name, one, other in zip(names, got, wanted, strict=True):
            if one.shape != other[:batch].shape or not _is_close(one, other[:batch]):
                return f"output '{shorten(name)}' of a batch of {batch} differs from the same rows alone"
    return ""


def _is_close(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True))


def _take(rows: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: tensor[start:stop] for name, tensor in rows.items()}


def draw(spec: TensorSpec, rows: int, length: int) -> Array:
    """Return drawn values for an input: (rows, ...) with `length` where a size is free; whole numbers are 0 or 1, texts one letter."""
    generator = np.random.default_rng([len(spec.name), rows, length])
    shape = (rows, *(length if size is None else size for size in spec.shape[1:]))
    if spec.dtype is DType.BYTES:
        return np.array(list("abc"), dtype=object)[generator.integers(0, 3, shape)]
    if spec.dtype.is_float:
        return generator.uniform(0.0, 1.0, shape).astype(spec.dtype.numpy)
    return generator.integers(0, 2, shape).astype(spec.dtype.numpy)
