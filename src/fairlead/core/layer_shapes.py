"""Which shapes a known layer gives for the shapes it takes. Pure; configs are in the canonical form of core.layer_kinds.

A shape is a tuple with the batch first and None for a free size. Raises ValueError, with the reason, where the inputs do not fit the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Shape: TypeAlias = tuple[int | None, ...]
Size: TypeAlias = int | None
Arguments: TypeAlias = Mapping[str, Sequence[Shape]]

_STATE_COUNT = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
_MERGES = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"})


def output_shapes(kind: str, config: Mapping[str, Any], arguments: Arguments) -> tuple[Shape, ...]:
    """Return the shape of each output of one call; `arguments` are the tensors' shapes by argument name."""
    first = next(iter(arguments.values()))[0]
    if kind in _STATE_COUNT:
        return _recurrent(kind, config, first)
    if kind == "Bidirectional":
        return _bidirectional(config, first)
    if kind == "MultiHeadAttention":
        return _multi_head(config, arguments)
    if kind == "TimeDistributed":
        return _time_distributed(config, first)
    if kind in _MERGES:
        return (_broadcast(arguments["inputs"]),)
    if kind in ("Concatenate", "Dot", "Attention", "AdditiveAttention"):
        return (_JOINS[kind](config, [shape for shapes in arguments.values() for shape in shapes]),)
    if "data_format" in config and kind != "Flatten":
        return (_spatial(kind, config, first),)
    rule = _SIMPLE.get(kind)
    return (rule(config, first) if rule else first,)


def _recurrent(kind: str, config: Mapping[str, Any], shape: Shape) -> tuple[Shape, ...]:
    _need_rank(kind, shape, 3)
    units = config["units"]
    states = ((shape[0], units),) * (_STATE_COUNT[kind] if config["return_state"] else 0)
    return ((shape[0], shape[1], units) if config["return_sequences"] else (shape[0], units), *states)


def _bidirectional(config: Mapping[str, Any], shape: Shape) -> tuple[Shape, ...]:
    forward, *forward_states = output_shapes(config["layer"]["kind"], config["layer"]["config"], {"sequences": (shape,)})
    backward, *backward_states = output_shapes(
        config["backward_layer"]["kind"], config["backward_layer"]["config"], {"sequences": (shape,)}
    )
    states = (*forward_states, *backward_states)
    if config["merge_mode"] is None:
        return (forward, backward, *states)
    if config["merge_mode"] == "concat":
        return ((*forward[:-1], _sum(forward[-1], backward[-1])), *states)
    return (_broadcast((forward, backward)), *states)


def _multi_head(config: Mapping[str, Any], arguments: Arguments) -> tuple[Shape, ...]:
    query, value = arguments["query"][0], arguments["value"][0]
    _need_rank("MultiHeadAttention", query, 3)
    _need_rank("MultiHeadAttention", value, 3)
    last = config["output_shape"]
    tail = (query[-1],) if last is None else (last,) if isinstance(last, int) else tuple(last)
    return ((*query[:-1], *tail), (query[0], config["num_heads"], query[1], value[1]))


def _time_distributed(config: Mapping[str, Any], shape: Shape) -> tuple[Shape, ...]:
    if len(shape) < 3:
        raise ValueError(f"TimeDistributed takes at least three axes, not {list(shape)}")
    inner = output_shapes(config["layer"]["kind"], config["layer"]["config"], {"inputs": ((shape[0], *shape[2:]),)})
    return tuple((result[0], shape[1], *result[1:]) for result in inner)


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    if len({len(shape) for shape in shapes}) != 1:
        raise ValueError(f"shapes {[list(shape) for shape in shapes]} have different numbers of axes")
    return tuple(_broadcast_size(sizes) for sizes in zip(*shapes, strict=True))


def _broadcast_size(sizes: tuple[Size, ...]) -> Size:
    known = {size for size in sizes if size not in (None, 1)}
    if len(known) > 1:
        raise ValueError(f"sizes {sorted(size for size in known if size is not None)} do not fit each other")
    return known.pop() if known else None if None in sizes else 1


def _concatenate(config: Mapping[str, Any], shapes: Sequence[Shape]) -> Shape:
    rank = len(shapes[0])
    axis = config["axis"] % rank if -rank <= config["axis"] < rank else 0
    if axis == 0 or any(len(shape) != rank for shape in shapes):
        raise ValueError(f"shapes {[list(shape) for shape in shapes]} cannot be concatenated along axis {config['axis']}")
    rest = _broadcast([(*shape[:axis], *shape[axis + 1 :]) for shape in shapes])
    return (*rest[:axis], _sum(*(shape[axis] for shape in shapes)), *rest[axis:])


def _dot(config: Mapping[str, Any], shapes: Sequence[Shape]) -> Shape:
    if len(shapes) != 2:
        raise ValueError(f"Dot takes two tensors, not {len(shapes)}")
    axes = config["axes"] if isinstance(config["axes"], list) else [config["axes"]] * 2
    rests = []
    for shape, axis in zip(shapes, axes, strict=True):
        place = axis % len(shape)
        rests.append([size for number, size in enumerate(shape) if number not in (0, place)])
    return (shapes[0][0], *rests[0], *rests[1]) if rests[0] or rests[1] else (shapes[0][0], 1)


def _attend(_config: Mapping[str, Any], shapes: Sequence[Shape]) -> Shape:
    return (*shapes[0][:-1], shapes[1][-1])


_JOINS: Mapping[str, Callable[[Mapping[str, Any], Sequence[Shape]], Shape]] = {
    "Concatenate": _concatenate,
    "Dot": _dot,
    "Attention": _attend,
    "AdditiveAttention": _attend,
}


def _spatial(kind: str, config: Mapping[str, Any], shape: Shape) -> Shape:
    """Return the shape after a layer that works on spatial axes, whichever side the channels are on."""
    rank = next(int(place) for place in "123" if f"{place}D" in kind)
    _need_rank(kind, shape, rank + 2)
    is_last = config["data_format"] == "channels_last"
    batch, channels = shape[0], shape[-1] if is_last else shape[1]
    sizes = shape[1:-1] if is_last else shape[2:]
    if kind.startswith("Global"):
        if not config["keepdims"]:
            return (batch, channels)
        after: tuple[Size, ...] = (1,) * rank
    else:
        after = tuple(_spatial_size(kind, config, axis, size) for axis, size in enumerate(sizes))
    if kind.startswith("Depthwise"):
        channels = None if channels is None else channels * config["depth_multiplier"]
    channels = config.get("filters", channels)
    return (batch, *after, channels) if is_last else (batch, channels, *after)


def _spatial_size(kind: str, config: Mapping[str, Any], axis: int, size: Size) -> Size:
    if size is None:
        return None
    if kind.startswith("ZeroPadding"):
        return size + int(sum(config["padding"][axis]))
    if kind.startswith("UpSampling"):
        return size * int(config["size"][axis])
    if kind.startswith("Cropping"):
        after = size - int(sum(config["cropping"][axis]))
    elif "Transpose" in kind:
        return _transposed_size(config, axis, size)
    else:
        window = (
            config["pool_size"][axis] if "pool_size" in config else (config["kernel_size"][axis] - 1) * config["dilation_rate"][axis] + 1
        )
        stride = config["strides"][axis]
        after = (size - window) // stride + 1 if config["padding"] == "valid" else math.ceil(size / stride)
    if after < 1:
        raise ValueError(f"{kind} leaves nothing of an axis of size {size}")
    return after


def _transposed_size(config: Mapping[str, Any], axis: int, size: int) -> int:
    # As Keras computes it: https://github.com/keras-team/keras/blob/master/keras/src/backend/common/backend_utils.py
    stride = int(config["strides"][axis])
    window = (int(config["kernel_size"][axis]) - 1) * int(config["dilation_rate"][axis]) + 1
    if config["output_padding"] is None:
        return size * stride + (max(window - stride, 0) if config["padding"] == "valid" else 0)
    extra = int(config["output_padding"][axis])
    return (size - 1) * stride + window - (0 if config["padding"] == "valid" else 2 * (window // 2)) + extra


def _flatten(_config: Mapping[str, Any], shape: Shape) -> Shape:
    return (shape[0], _product(shape[1:]))


def _reshape(config: Mapping[str, Any], shape: Shape) -> Shape:
    target = [None if size in (-1, None) else int(size) for size in config["target_shape"]]
    total = _product(shape[1:])
    known = math.prod(size for size in target if size is not None)
    if target.count(None) > 1 or (total is not None and (known == 0 or total % known or (None not in target and total != known))):
        raise ValueError(f"{list(shape[1:])} cannot become {config['target_shape']}")
    return (shape[0], *(total // known if size is None and total is not None else size for size in target))


def _permute(config: Mapping[str, Any], shape: Shape) -> Shape:
    dims = config["dims"]
    if sorted(dims) != list(range(1, len(shape))):
        raise ValueError(f"{dims} do not permute {list(shape)}")
    return (shape[0], *(shape[axis] for axis in dims))


def _repeat(config: Mapping[str, Any], shape: Shape) -> Shape:
    _need_rank("RepeatVector", shape, 2)
    return (shape[0], config["n"], shape[1])


def _einsum(config: Mapping[str, Any], shape: Shape) -> Shape:
    """`output_shape` leaves out the batch, and what an ellipsis stands for."""
    sizes = config["output_shape"] if isinstance(config["output_shape"], list) else [config["output_shape"]]
    left, _, after = config["equation"].replace(" ", "").partition("->")
    before = left.partition(",")[0]
    elided: Shape = ()
    if before.startswith("..."):
        elided, shape = shape[: len(shape) - len(before) + 3], shape[len(shape) - len(before) + 3 :]
        result = tuple(sizes)
    else:
        elided, shape = (shape[len(before) - 3 :], shape[: len(before) - 3]) if before.endswith("...") else ((), shape)
        result = (shape[0], *sizes)
    letters = dict(zip(before.replace(".", ""), shape, strict=False))
    after = after.replace(".", "")
    if len(after) == len(result):
        result = tuple(letters.get(letter) if size is None else size for letter, size in zip(after, result, strict=True))
    return (*elided, *result) if before.startswith("...") else (*result, *elided)


_SIMPLE: Mapping[str, Callable[[Mapping[str, Any], Shape], Shape]] = {
    "Dense": lambda config, shape: (*shape[:-1], config["units"]),
    "Embedding": lambda config, shape: (*shape, config["output_dim"]),
    "EinsumDense": _einsum,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
}


def _need_rank(kind: str, shape: Shape, rank: int) -> None:
    if len(shape) != rank:
        raise ValueError(f"{kind} takes {rank} axes, not {list(shape)}")


def _product(sizes: Sequence[Size]) -> Size:
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _sum(*sizes: Size) -> Size:
    return None if None in sizes else sum(size for size in sizes if size is not None)
