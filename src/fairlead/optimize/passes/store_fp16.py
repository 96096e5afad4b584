"""Stores weights in half precision and computes in single precision: half the size at the same speed. Lossy, by the rounding of weights.

Each large float32 weight becomes float16 with a Cast behind it, which runtimes carry out once when they load the model. Computing in half
precision would be slower on a CPU, and would overflow where sums pass 65504. A weight that half precision cannot hold well stays as it is.
Refuses a model without large weights, such as trees.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fairlead.core.interface import Array
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.weight_storage import Restoring, store_weights

_RELATIVE = 2.0**-10  # of the weight's largest element; half precision rounds by half of that at most


def store_fp16(job: PassJob) -> PassResult:
    """Write the model of `job.source` with its large weights as float16 to `job.destination`."""
    return store_weights(job, _encode, name="store_fp16", what="as float16", least_axes=1)


def _encode(values: Array, form: Restoring) -> Array | None:
    """Store the values as float16, unless that changes one by more than rounding does."""
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    back = half.astype(np.float32)
    if not (np.abs(back - values) <= _RELATIVE * np.abs(values).max()).all():
        return None
    form.then("Cast", form.keep(half, "_fp16"), last=True, to=TensorProto.FLOAT)
    return back
