"""Calls of an ONNX Runtime session through buffers that are bound to it once: a small model spends most of a call on handing tensors over.

Takes the interface of a session; gives answers for few rows of known shapes, None for everything else and where such a call fails: then the
session is to be called as usual, which also says what was wrong. Safe for several threads: a call takes a set of buffers of its own from a
pool. Never keeps a caller's tensor, never hands out a buffer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec

_MOST_ROWS = 16
_MOST_BYTES = 16 * 1024  # of all inputs and outputs: copying more costs what binding saves
_KEPT = 8  # sets of buffers for each number of rows, at most: as many as threads call at once
_ERRORS = (RuntimeError, ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.RuntimeException, ort_errors.EngineError)


class BoundCalls:
    """Answers through bound buffers, for the session of one engine."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        specs = (*interface.inputs, *interface.outputs)
        self._pools: dict[int, list[_Buffers]] = {}
        if all(_is_plain(spec) for spec in specs) and all(spec.shape[0] is None for spec in interface.inputs):
            row_bytes = sum(math.prod(size or 1 for size in spec.shape) * spec.dtype.numpy.itemsize for spec in specs)
            self._pools = {rows: [] for rows in range(1, min(_MOST_ROWS, _MOST_BYTES // max(row_bytes, 1)) + 1)}

    def run(self, session: Any, inputs: Tensors, rows: int) -> dict[str, Array] | None:
        """Return every output for `inputs` of `rows` rows that fit the interface; None where the session is to be called as usual.

        Where a call fails, calls of so many rows are not bound any more: the model may give other shapes than its interface says.
        """
        pool = self._pools.get(rows)
        if pool is None:
            return None
        try:
            try:
                buffers = pool.pop()
            except IndexError:
                buffers = _Buffers(session, self._interface, rows)
            answers = buffers.run(session, inputs)
        except _ERRORS:
            self._pools.pop(rows, None)
            return None
        if len(pool) < _KEPT:
            pool.append(buffers)
        return answers

    def clear(self) -> None:
        """Let go of all buffers, and of the session that they are bound to."""
        self._pools = {}


def _is_plain(spec: TensorSpec) -> bool:
    """Whether everything but the number of rows is known."""
    return spec.dtype is not DType.BYTES and bool(spec.shape) and None not in spec.shape[1:]


class _Buffers:
    """Tensors of one number of rows, bound to the session."""

    def __init__(self, session: Any, interface: Interface, rows: int) -> None:
        self._binding = session.io_binding()
        self._inputs = _bound(self._binding.bind_input, interface.inputs, rows)
        self._outputs = _bound(self._binding.bind_output, interface.outputs, rows)

    def run(self, session: Any, inputs: Tensors) -> dict[str, Array]:
        for name, buffer in self._inputs:
            np.copyto(buffer, inputs[name])
        session.run_with_iobinding(self._binding)
        return {name: buffer.copy() for name, buffer in self._outputs}


def _bound(bind: Any, specs: Sequence[TensorSpec], rows: int) -> list[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []
    for spec in specs:
        buffer = np.zeros([rows if size is None else size for size in spec.shape], spec.dtype.numpy)
        bind(spec.name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        found.append((spec.name, buffer))
    return found
