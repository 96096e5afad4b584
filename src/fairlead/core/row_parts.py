"""Which elements of a row belong together, so that they can be hidden together: patches of an image, runs of columns or of positions.

Pure. Law: every element of a row of the shape has one number, from 0 without gaps.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.interface import Array

SMALLEST_IMAGE = 7  # elements along the shorter side


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a row of this shape is looked at as an image."""
    return len(shape) >= 2 and min(sides(shape)) >= SMALLEST_IMAGE


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width: the two largest of the last three dimensions, whether channels come first or last."""
    if len(shape) == 2:
        return shape[0], shape[1]
    return (shape[-3], shape[-2]) if has_channels_last(shape) else (shape[-2], shape[-1])


def has_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last dimension of an image holds its channels."""
    return len(shape) > 2 and shape[-1] < shape[-3]


def patches(shape: tuple[int, ...], lines: int, places: int) -> Array:
    """Number the elements of an image by the patch that they lie in, line by line; all channels belong to the same patch."""
    height, width = sides(shape)
    down, across = np.arange(height) * lines // height, np.arange(width) * places // width
    numbers = down[:, None] * places + across[None, :]
    return np.broadcast_to(numbers[..., None] if has_channels_last(shape) else numbers, shape)


def runs(shape: tuple[int, ...], share: int) -> Array:
    """Number the elements along the first axis of a row (columns of a table, positions of a sequence) in at most `share` runs."""
    if not shape:
        return np.zeros((), dtype=np.int64)
    length = shape[0]
    numbers = np.arange(length) * min(share, length) // max(length, 1)
    return np.broadcast_to(numbers.reshape(length, *[1] * (len(shape) - 1)), shape)
