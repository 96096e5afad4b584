"""Outputs' shapes as an ONNX model really gives them. Takes a checked file; for the sandboxed worker.

Raises UnsupportedError for an output that has not one answer per row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairlead.core.interface import Interface, TensorSpec, shorten
from fairlead.engines.onnxruntime_engine import open_session
from fairlead.engines.row_proof import FREE_LENGTHS, RUN_ERRORS, draw
from fairlead.errors import UnsupportedError


def observe(path: Path, interface: Interface) -> Interface:
    """Return the interface with the outputs' shapes as the model really gives them, where the file leaves them open. Raises
    UnsupportedError for an output that does not have one answer per row; unchanged where no drawn rows are accepted.
    """
    session = open_session(path, thread_count=1, optimization="basic")
    names = [spec.name for spec in interface.outputs]
    for length in FREE_LENGTHS:
        try:
            seen = [session.run(names, {spec.name: draw(spec, rows, length) for spec in interface.inputs}) for rows in (2, 3)]
        except RUN_ERRORS:
            continue
        for index, name in enumerate(names):
            if any(getattr(answer[index], "shape", ())[:1] != (rows,) for rows, answer in zip((2, 3), seen, strict=True)):
                raise UnsupportedError(
                    f"The output '{shorten(name)}' does not have one answer per row.", hint="Export the model without it."
                )
        has_free_lengths = any(None in spec.shape[1:] for spec in interface.inputs)
        outputs = tuple(
            _observed(spec, seen[0][index].shape, has_free_lengths=has_free_lengths) for index, spec in enumerate(interface.outputs)
        )
        return replace(interface, outputs=outputs)
    return interface


def _observed(spec: TensorSpec, shape: tuple[int, ...], *, has_free_lengths: bool) -> TensorSpec:
    declared = spec.shape if len(spec.shape) == len(shape) else (None,) * len(shape)
    sizes = [want if want is not None or has_free_lengths else got for want, got in zip(declared[1:], shape[1:], strict=True)]
    return replace(spec, shape=(None, *sizes))
