"""Stores weights in 4 bits, two to a byte, and computes in single precision: a seventh of the size at the same speed. Lossy.

Each large float32 weight with two axes or more is cut into blocks of consecutive elements. A block has one scale in half precision, with
the sign that lets its largest element be stored as -8, searched for the smallest squared error; elements become whole numbers from -8 to
7. A few nodes take the pairs apart and scale them when a runtime loads the model. Setting `block`: how many elements share a scale, an
even number; smaller blocks lose less and take more. Refuses a model without such weights.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import TensorProto

from fairlead.core.interface import Array
from fairlead.errors import SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.weight_storage import Restoring, store_weights

_BLOCKS = range(8, 4097, 2)
_ZERO = 8  # what is stored for 0
_TRIALS = np.linspace(1.0, 0.7, 13, dtype=np.float32)  # of the scale that the largest element would need


def store_int4(job: PassJob) -> PassResult:
    """Write the model of `job.source` with its large weights in 4 bits to `job.destination`."""
    block = int(job.settings.get("block", 32))
    if block not in _BLOCKS:
        raise SpecError(
            f"store_int4 cannot cut weights into blocks of {block}.", hint=f"Use an even number from {_BLOCKS[0]} to {_BLOCKS[-1]}."
        )
    return store_weights(job, partial(_encode, block=block), name="store_int4", what="in 4 bits")


def _encode(values: Array, form: Restoring, *, block: int) -> Array | None:
    """Store pairs of whole numbers and scales."""
    padding = -values.size % block
    blocks = np.pad(values.reshape(-1), (0, padding)).reshape(-1, block)
    whole, scales = _quantized(blocks)
    half = block // 2
    packed = form.keep(whole[:, :half] | (whole[:, half:] << 4), "_int4")
    # In float32, where all of it is exact: OpenVINO would carry shifts of whole numbers out as divisions.
    pairs = form.then("Cast", packed, to=TensorProto.FLOAT)
    high = form.then("Floor", form.then("Mul", pairs, form.constant(np.array(1 / 16, np.float32))))
    low = form.then("Mod", pairs, form.constant(np.array(16, np.float32)), fmod=1)
    centred = form.then("Sub", form.then("Concat", low, high, axis=1), form.constant(np.array(_ZERO, np.float32)))
    scale = form.keep(scales, "_scale")
    if scales.dtype == np.float16:
        scale = form.then("Cast", scale, to=TensorProto.FLOAT)
    flat = form.then("Mul", centred, scale)
    if padding:
        limits = [form.constant(np.array([limit], np.int64)) for limit in (0, values.size)]
        flat = form.then("Slice", form.then("Reshape", flat, form.constant(np.array([-1], np.int64))), *limits)
    form.then("Reshape", flat, form.constant(np.array(values.shape, np.int64)), last=True)
    back = (whole.astype(np.float32) - _ZERO) * scales.astype(np.float32)
    return np.asarray(back.reshape(-1)[: values.size].reshape(values.shape))


def _quantized(blocks: Array) -> tuple[Array, Array]:
    """Return (blocks, size) numbers from 0 to 15 and (blocks, 1) scales, in half precision where that holds them; of equal errors the
    first is kept.
    """
    places = np.abs(blocks).argmax(axis=1)[:, None]
    needed = np.take_along_axis(blocks, places, axis=1) / np.float32(-_ZERO)
    sizes = np.abs(needed[needed != 0])
    kind = np.float16 if sizes.min() * _TRIALS[-1] >= np.finfo(np.float16).tiny and sizes.max() <= np.finfo(np.float16).max else np.float32
    best, least = np.zeros(blocks.shape, np.uint8), np.full((len(blocks), 1), np.inf)
    best_scales = np.zeros((len(blocks), 1), kind)
    for trial in _TRIALS:
        scales = (needed * trial).astype(kind)
        wide = scales.astype(np.float32)
        whole = np.clip(np.rint(blocks / np.where(wide == 0, np.float32(1), wide)), -_ZERO, _ZERO - 1)
        error = np.square(whole * wide - blocks, dtype=np.float64).sum(axis=1, keepdims=True)
        best = np.where(error < least, (whole + _ZERO).astype(np.uint8), best)
        best_scales, least = np.where(error < least, scales, best_scales), np.minimum(error, least)
    return best, best_scales
