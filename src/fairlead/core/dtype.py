"""Element types of tensors, named as the Open Inference Protocol V2 names them."""

from __future__ import annotations

import enum

import numpy as np


class DType(enum.StrEnum):
    """An element type. The value is the V2 name; BYTES holds text and is an object array of `str` in numpy.

    `numpy` is the numpy dtype that holds it (object for BYTES).
    """

    numpy: np.dtype[np.generic]

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def is_float(self) -> bool:
        """Whether values can be fractional, infinite or NaN."""
        return self in (DType.FP16, DType.FP32, DType.FP64)

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers (BOOL is not)."""
        return self.startswith(("INT", "UINT"))

    @staticmethod
    def of(dtype: np.dtype[np.generic]) -> DType:
        """Return the type that holds `dtype`; numpy strings, bytes and objects are BYTES. Raises KeyError for others."""
        if dtype.kind in "OUST":
            return DType.BYTES
        return _FROM_NUMPY[dtype.newbyteorder("=")]


_TO_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.UINT16: np.dtype(np.uint16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.INT8: np.dtype(np.int8),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.FP16: np.dtype(np.float16),
    DType.FP32: np.dtype(np.float32),
    DType.FP64: np.dtype(np.float64),
    DType.BYTES: np.dtype(object),
}
for _dtype, _numpy in _TO_NUMPY.items():
    _dtype.numpy = _numpy  # an attribute, not a property: it is asked for with every tensor of every request
_FROM_NUMPY = {numpy: dtype for dtype, numpy in _TO_NUMPY.items() if dtype is not DType.BYTES}
