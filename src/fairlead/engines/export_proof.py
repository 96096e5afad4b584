"""The proof that an exported ONNX file answers as its original: drawn rows at several batch sizes and, where lengths are free, two lengths.

Takes the file's bytes, the inputs, and a function that asks the original; runs in the sandbox, where the original is open. Raises
UnsupportedError where an answer differs. Says nothing about the user's rows: verify compares those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnxruntime

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors, TensorSpec
from fairlead.engines.onnxruntime_engine import LOAD_ERRORS
from fairlead.engines.row_proof import RUN_ERRORS
from fairlead.errors import UnsupportedError

BATCHES = (3, 1, 7)  # 1 and another show a frozen batch; 7 is no multiple of any vector width
LENGTHS = (6, 13)
_TOLERANCE = 1e-4  # absolute below 1 and relative above; verify holds the user's rows to the conversion's own

Ask = Callable[[Mapping[str, Array]], Sequence[Array]]


def prove_export(
    exported: bytes, inputs: Sequence[TensorSpec], ask: Ask, *, tolerance: float = _TOLERANCE, rows: Iterable[Tensors] | None = None
) -> None:
    """Raise UnsupportedError unless the export gives the outputs that `ask` gives, in the same order.

    `rows` are asked in place of drawn ones, where a model takes only certain sizes.
    """
    try:
        session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise UnsupportedError(f"ONNX Runtime does not load the export: {_first_line(error)}.") from None
    for asked in _drawn(inputs) if rows is None else rows:
        batch = len(next(iter(asked.values())))
        expected = ask(asked)
        try:
            got = session.run(None, dict(asked))
        except RUN_ERRORS as error:
            raise UnsupportedError(f"The export does not run with a batch of {batch}: {_first_line(error)}.") from None
        _compare(expected, got, batch, tolerance)


def _drawn(inputs: Sequence[TensorSpec]) -> Iterator[Tensors]:
    has_free_length = any(size is None for spec in inputs for size in spec.shape[1:])
    for length in LENGTHS if has_free_length else LENGTHS[:1]:
        for batch in BATCHES:
            yield {spec.name: draw(spec, batch, length) for spec in inputs}


def _compare(expected: Sequence[Array], got: Sequence[Array], batch: int, tolerance: float) -> None:
    for place, (one, other) in enumerate(zip(expected, got, strict=True)):
        if one.shape != other.shape or not _is_close(one, other, tolerance):
            raise UnsupportedError(f"The export answers otherwise than the original (output {place}, batch of {batch}).")


def _is_close(one: Array, other: Array, tolerance: float) -> bool:
    if one.dtype.kind not in "fc" or other.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))


def draw(spec: TensorSpec, batch: int, length: int) -> Array:
    """Return drawn rows for an input: free sizes get `length` and more, whole numbers are 0 or 1 so that they index anything."""
    sizes = [batch if axis == 0 else length + axis if size is None else size for axis, size in enumerate(spec.shape)]
    random = np.random.default_rng([batch, length, len(spec.name)])
    if spec.dtype is DType.BYTES:
        return np.array(list("abc"), dtype=object)[random.integers(0, 3, sizes)]
    drawn = random.normal(size=sizes) if spec.dtype.is_float else random.integers(0, 2, size=sizes)
    return np.asarray(drawn, dtype=spec.dtype.numpy)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
