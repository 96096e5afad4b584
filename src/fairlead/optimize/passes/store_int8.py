"""Stores weights in 8 bits and computes in single precision: a quarter of the size at the same speed. Lossy, by the rounding of weights.

Each large float32 weight with two axes or more becomes whole numbers from -127 to 127 and one scale per slice of the axis that loses least:
output channels, rows of an embedding. No element is off by more than half its scale. A Cast and a Mul restore it when a runtime loads the
model. Refuses a model without such weights.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fairlead.core.interface import Array
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.weight_storage import Restoring, store_weights

_LARGEST = 127
_SCALE_SHARE = 1 / 8  # of a weight's 8-bit elements: what its scales may take


def store_int8(job: PassJob) -> PassResult:
    """Write the model of `job.source` with its large weights as int8 to `job.destination`."""
    return store_weights(job, _encode, name="store_int8", what="in 8 bits")


def _encode(values: Array, form: Restoring) -> Array | None:
    """Store whole numbers and scales."""
    rounded, scales = _best(values)
    whole = form.then("Cast", form.keep(rounded, "_int8"), to=TensorProto.FLOAT)
    form.then("Mul", whole, form.keep(scales, "_scale"), last=True)
    return np.asarray(rounded.astype(np.float32) * scales)


def _best(values: Array) -> tuple[Array, Array]:
    """Return int8 values and float32 scales along the axis that loses least; one scale where all axes are too long for theirs."""
    axes = [axis for axis, size in enumerate(values.shape) if size > 1 and size * 4 <= values.size * _SCALE_SHARE]
    forms = [_rounded(values, tuple(other for other in range(values.ndim) if other != axis)) for axis in axes]
    forms = forms or [_rounded(values, tuple(range(values.ndim)))]
    return min(forms, key=lambda form: float(np.square(form[0] * form[1] - values, dtype=np.float64).sum()))


def _rounded(values: Array, over: tuple[int, ...]) -> tuple[Array, Array]:
    scales = np.abs(values).max(axis=over, keepdims=True) / np.float32(_LARGEST)
    scales = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1)).astype(np.float32)
    return np.clip(np.rint(values / scales), -_LARGEST, _LARGEST).astype(np.int8), scales
