"""The proof that an exported ONNX file answers as its original: drawn rows at several batch sizes and, where lengths are free, two lengths.

Takes the file's bytes, the inputs, and a function that asks the original; runs in the sandbox, where the original is open. Raises
UnsupportedError where an answer differs, or where the original takes no drawn rows. Says nothing about the user's rows: verify compares
those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnxruntime

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors, TensorSpec
from fairlead.engines.onnxruntime_engine import LOAD_ERRORS
from fairlead.engines.row_proof import RUN_ERRORS
from fairlead.errors import UnsupportedError

BATCHES = (3, 1, 7)  # 1 and another show a frozen batch; 7 is no multiple of any vector width
LENGTHS = (6, 13)
# Pairs of lengths for free sizes, tried until the original takes both; whether each axis gets a size of its own. The larger ones are for
# images, which shrink on their way; the equal ones for sizes that have to be alike or to divide by 32.
_PAIRS = ((*LENGTHS, True), (*LENGTHS, False), (32, 64, True), (32, 64, False), (224, 256, False))
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
    for asked, expected in answer_drawn(inputs, ask) if rows is None else ((given, ask(given)) for given in rows):
        batch = len(next(iter(asked.values())))
        try:
            got = session.run(None, dict(asked))
        except RUN_ERRORS as error:
            raise UnsupportedError(f"The export does not run with a batch of {batch}: {_first_line(error)}.") from None
        _compare(expected, got, batch, tolerance)


def answer_drawn(inputs: Sequence[TensorSpec], ask: Ask) -> list[tuple[Tensors, Sequence[Array]]]:
    """Return drawn rows that the original takes, with its answers: every batch size at two lengths, or at one where no size is free.

    Raises UnsupportedError where it refuses all of them, with what it said first.
    """
    has_free_length = any(size is None for spec in inputs for size in spec.shape[1:])
    problem = ""
    for first, second, is_own in _PAIRS if has_free_length else _PAIRS[:1]:
        lengths = (first, second) if has_free_length else (first,)
        drawn = [{spec.name: draw(spec, batch, length, is_own=is_own) for spec in inputs} for length in lengths for batch in BATCHES]
        try:
            return [(rows, ask(rows)) for rows in drawn]
        except Exception as error:  # noqa: BLE001 - an original raises whatever its layers raise for rows that they do not take
            problem = problem or _first_line(error)
    raise UnsupportedError(
        f"The original takes no drawn rows: {problem.rstrip('.')}.", hint="Give inputs that need certain sizes a fixed shape."
    )


def _compare(expected: Sequence[Array], got: Sequence[Array], batch: int, tolerance: float) -> None:
    for place, (one, other) in enumerate(zip(expected, got, strict=True)):
        if one.shape != other.shape or not _is_close(one, other, tolerance):
            raise UnsupportedError(f"The export answers otherwise than the original (output {place}, batch of {batch}).")


def _is_close(one: Array, other: Array, tolerance: float) -> bool:
    if one.dtype.kind not in "fc" or other.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))


def draw(spec: TensorSpec, batch: int, length: int, *, is_own: bool = True) -> Array:
    """Return drawn rows for an input: free sizes get `length`, each some more where it gets one of its own; whole numbers are 0 or 1, so
    that they index anything.
    """
    sizes = [batch if axis == 0 else length + axis * is_own if size is None else size for axis, size in enumerate(spec.shape)]
    random = np.random.default_rng([batch, length, len(spec.name)])
    if spec.dtype is DType.BYTES:
        return np.array(list("abc"), dtype=object)[random.integers(0, 3, sizes)]
    drawn = random.normal(size=sizes) if spec.dtype.is_float else random.integers(0, 2, size=sizes)
    return np.asarray(drawn, dtype=spec.dtype.numpy)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
