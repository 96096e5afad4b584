"""What ONNX operators that move elements compute, in PyTorch. Shapes are tensors of int64, as in ONNX. Never changes a tensor in place."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from torch import Tensor
from torch.nn import functional

from fairlead.optimize.training.operation import Call, Compute, not_trainable

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def sizes_of(tensor: Tensor) -> list[int]:
    """Return what a tensor of whole numbers holds."""
    return [int(value) for value in tensor.reshape(-1).tolist()]


def axes_of(call: Call, axes: Tensor | None) -> list[int] | None:
    """Return an operator's axes, given as an attribute or (in newer operator sets) as an input; None where it names none."""
    if axes is not None:
        return sizes_of(axes)
    named = call.get("axes")
    return None if named is None else [int(axis) for axis in named]


def _constant(call: Call) -> Tensor:
    for name, value in call.attributes.items():
        if name == "value":
            return torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
        if name in ("value_float", "value_floats"):
            return torch.tensor(value, dtype=torch.float32)
        if name in ("value_int", "value_ints"):
            return torch.tensor(value, dtype=torch.int64)
    raise not_trainable("Constant of texts or sparse values")


def _reshape(call: Call, value: Tensor, shape: Tensor) -> Tensor:
    sizes = sizes_of(shape)
    if not call.get("allowzero", 0):
        sizes = [value.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return value.reshape(sizes)


def _flatten(call: Call, value: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis = axis + value.ndim if axis < 0 else axis
    rows = 1
    for size in value.shape[:axis]:
        rows *= size
    return value.reshape(rows, -1)


def _squeeze(call: Call, value: Tensor, axes: Tensor | None = None) -> Tensor:
    named = axes_of(call, axes)
    return value.squeeze() if named is None else value.squeeze(tuple(named))


def _unsqueeze(call: Call, value: Tensor, axes: Tensor | None = None) -> Tensor:
    named = axes_of(call, axes) or []
    rank = value.ndim + len(named)
    for axis in sorted(axis % rank for axis in named):
        value = value.unsqueeze(axis)
    return value


def _transpose(call: Call, value: Tensor) -> Tensor:
    return value.permute(tuple(call.get("perm", range(value.ndim - 1, -1, -1))))


def _split(call: Call, value: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis, count = call.get("axis", 0), len(call.outputs)
    parts = sizes_of(sizes) if sizes is not None else list(call.get("split", ()))
    if not parts:
        largest = -(-value.shape[axis] // count)
        parts = [largest] * (count - 1) + [value.shape[axis] - largest * (count - 1)]
    return torch.split(value, parts, dim=axis)


def slice_bounds(call: Call, value: Tensor, given: tuple[Tensor | None, ...]) -> list[tuple[int, int, int, int]]:
    """Return (axis, start, end, step) of a Slice, counted from the front."""
    if given:
        starts, ends = sizes_of_given(given[0]), sizes_of_given(given[1])
        axes = sizes_of_given(given[2] if len(given) > 2 else None) or list(range(len(starts)))
        steps = sizes_of_given(given[3] if len(given) > 3 else None) or [1] * len(starts)
    else:
        starts, ends = list(call.get("starts")), list(call.get("ends"))
        axes, steps = list(call.get("axes", range(len(starts)))), [1] * len(starts)
    bounds = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        place = axis % value.ndim
        bounds.append((place, *slice(start, end, step).indices(value.shape[place])))
    return bounds


def sizes_of_given(tensor: Tensor | None) -> list[int]:
    """Return what an optional tensor of whole numbers holds; nothing where it is left out."""
    return [] if tensor is None else sizes_of(tensor)


def _slice(call: Call, value: Tensor, *given: Tensor | None) -> Tensor:
    for axis, start, end, step in slice_bounds(call, value, given):
        if step == 1:
            value = value.narrow(axis, start, max(0, end - start))
        else:
            value = value.index_select(
                axis, torch.arange(start, end, step) if (end - start) * step > 0 else torch.zeros(0, dtype=torch.int64)
            )
    return value


def _gather(call: Call, data: Tensor, indices: Tensor) -> Tensor:
    axis = call.get("axis", 0) % data.ndim
    index = indices.to(torch.int64)
    index = torch.where(index < 0, index + data.shape[axis], index)
    if axis == 0 and data.ndim == 2 and data.is_floating_point():
        return functional.embedding(index, data)
    shape = (*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])
    return torch.index_select(data, axis, index.reshape(-1)).reshape(shape)


def _shape(call: Call, value: Tensor) -> Tensor:
    return torch.tensor(list(value.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


def _expand(_call: Call, value: Tensor, shape: Tensor) -> Tensor:
    wanted = torch.broadcast_shapes(value.shape, tuple(sizes_of(shape)))  # type: ignore[no-untyped-call] # so PyTorch declares it
    return value.expand(wanted)


def _filled(call: Call, shape: Tensor) -> Tensor:
    stored = call.get("value")
    value = torch.zeros(1) if stored is None else torch.from_numpy(onnx.numpy_helper.to_array(stored).copy())
    return value.reshape(()).expand(sizes_of(shape))


def pad_sizes(call: Call, value: Tensor, given: tuple[Tensor | None, ...]) -> list[tuple[int, int]]:
    """Return how many elements a Pad puts before and after each axis."""
    amounts = sizes_of_given(given[0]) if given else list(call.get("pads"))
    axes = sizes_of_given(given[2] if len(given) > 2 else None) or list(range(value.ndim))
    sizes = [(0, 0)] * value.ndim
    for place, axis in enumerate(axes):
        sizes[axis % value.ndim] = (amounts[place], amounts[place + len(axes)])
    return sizes


def _pad(call: Call, value: Tensor, *given: Tensor | None) -> Tensor:
    sizes = pad_sizes(call, value, given)
    mode = _PAD_MODES.get(call.get("mode", b"constant").decode())
    fill = float(call.get("value", 0.0))
    if len(given) > 1 and given[1] is not None:
        fill = float(given[1].item())
    if mode == "constant":
        return functional.pad(value, [amount for pair in reversed(sizes) for amount in pair], value=fill)
    inner = [pair for pair in sizes if pair != (0, 0)]
    if mode is None or len(inner) > 2 or any(pair != (0, 0) for pair in sizes[: value.ndim - 2]):
        raise not_trainable(f"Pad ({call.get('mode', b'').decode()}) of such axes")
    return functional.pad(value, [amount for pair in reversed(sizes[value.ndim - 2 :]) for amount in pair], mode=mode)


def _range(_call: Call, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _depth_to_space(call: Call, value: Tensor) -> Tensor:
    block = call.get("blocksize")
    batch, depth, height, width = value.shape
    if call.get("mode", b"DCR") == b"CRD":
        return functional.pixel_shuffle(value, block)
    parts = value.reshape(batch, block, block, depth // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, depth // block**2, height * block, width * block)


SHAPE: Mapping[str, Compute] = {
    "Constant": _constant,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": lambda call, *values: torch.cat(values, dim=call.get("axis")),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": lambda call, data, index: torch.gather(data, call.get("axis", 0), index.to(torch.int64)),
    "Shape": _shape,
    "Size": lambda _call, value: torch.tensor(value.numel(), dtype=torch.int64),
    "Expand": _expand,
    "Tile": lambda _call, value, repeats: value.repeat(sizes_of(repeats)),
    "ConstantOfShape": _filled,
    "Pad": _pad,
    "Range": _range,
    "DepthToSpace": _depth_to_space,
}
