"""Zero padding, cropping and upsampling along spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.convert.graph_builder import Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.spatial import Image, enter, leave, numbers


def convert_zero_padding(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """ZeroPadding1D, 2D, 3D."""
    image = enter(use, inputs[0])
    pairs = _pairs(use, "padding", image)
    builder = use.builder
    # Pads for every axis: ONNX Runtime 1.31 moves transposes through a Pad that names its axes and mixes them up.
    pads = builder.integers([0, 0, *(begin for begin, _ in pairs), 0, 0, *(end for _, end in pairs)], "pads")
    tensor = builder.add("Pad", [image.tensor, pads])
    sizes = [None if size is None else size + begin + end for size, (begin, end) in zip(image.sizes, pairs, strict=True)]
    return [leave(tensor, image.channels, sizes, is_last=image.is_last)]


def convert_cropping(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Cropping1D, 2D, 3D."""
    image = enter(use, inputs[0])
    pairs = _pairs(use, "cropping", image)
    builder = use.builder
    ends = [-end if end else 2**63 - 1 for _, end in pairs]
    operands = [builder.integers(numbers_, "slice") for numbers_ in ([begin for begin, _ in pairs], ends, range(2, 2 + image.rank))]
    tensor = builder.add("Slice", [image.tensor, *operands])
    sizes = [None if size is None else size - begin - end for size, (begin, end) in zip(image.sizes, pairs, strict=True)]
    if any(size is not None and size <= 0 for size in sizes):
        raise use.refusal("crops everything away")
    return [leave(tensor, image.channels, sizes, is_last=image.is_last)]


def convert_upsampling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """UpSampling1D, 2D, 3D: each element repeated, or (2D) interpolated between the centres of pixels."""
    image = enter(use, inputs[0])
    factors = numbers(use, "size", image.rank)
    interpolation = use.config.get("interpolation", "nearest")
    if interpolation == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif interpolation == "bilinear":
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    else:
        raise use.refusal(f"has the interpolation '{interpolation}', which is not supported")
    scales = use.builder.floats([1.0, 1.0, *factors], "scales")
    tensor = use.builder.add("Resize", [image.tensor, "", scales], **how)
    sizes = [None if size is None else size * factor for size, factor in zip(image.sizes, factors, strict=True)]
    return [leave(tensor, image.channels, sizes, is_last=image.is_last)]


def _pairs(use: LayerUse, key: str, image: Image) -> list[tuple[int, int]]:
    setting = use.config.get(key)
    pairs = [(int(begin), int(end)) for begin, end in setting]
    if len(pairs) != image.rank or min(number for pair in pairs for number in pair) < 0:
        raise use.refusal(f"has {key}={setting!r}")
    return pairs
