"""More rows to learn from, for models that convolve: each training row shifted a little, with what the original answers to it.

Takes lessons, the original and the network to be trained; gives lessons with more rows to learn from, the ones to judge by unchanged. A
shifted row has no right answer of its own: the original's takes its place, so that nothing is supposed about what a shift means. Where no
convolution reads an input directly, there is nothing to shift along, and the lessons stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from fairlead.core.interface import Array
from fairlead.optimize.training.lessons import Lessons, teacher_answers
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.objective import Aim, Head, Objective
from fairlead.optimize.training.operation import Call
from fairlead.optimize.training.ops_shape import SHAPE

_SHARE = 1 / 14  # of a side, at most: two points of 28
_MOST_BYTES = 512 * 2**20  # of all rows together
_MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SCALES = frozenset({"Identity", "Cast", "Dropout", "Sub", "Add", "Mul", "Div", "BatchNormalization"})
_MOST_VALUES = 2**23  # of a row: places are counted in float32


def with_shifts(lessons: Lessons, objective: Objective, teacher: onnx.ModelProto, network: Network, copies: int, seed: int) -> Lessons:
    """Return `lessons` with at most `copies` shifted rows for each row to learn from; fewer where they would not fit into memory."""
    pictures = {name: place for name in lessons.inputs if (place := _picture(network, lessons, name)) is not None}
    size = sum(value[lessons.learned[:1]].numel() * 4 for value in lessons.inputs.values()) * len(lessons.learned)
    copies = min(copies, _MOST_BYTES // max(size, 1))
    if not pictures or copies < 1:
        return lessons
    random = np.random.default_rng(seed)
    rows = lessons.learned.repeat(copies)
    more = {name: _shifted(value[rows].numpy(), pictures.get(name), random) for name, value in lessons.inputs.items()}
    answers = {name: torch.from_numpy(value) for name, value in teacher_answers(teacher, more, len(rows)).items()}
    target = None if lessons.target is None else _answered(lessons.target, answers, objective.decides)
    before = len(next(iter(lessons.inputs.values())))
    return replace(
        lessons,
        inputs={name: torch.cat([value, torch.from_numpy(more[name])]) for name, value in lessons.inputs.items()},
        teacher={name: torch.cat([value, answers[name]]) for name, value in lessons.teacher.items()},
        target=target,
        learned=torch.cat([lessons.learned, torch.arange(before, before + len(rows))]),
    )


def _picture(network: Network, lessons: Lessons, name: str) -> Array | None:
    """Return, for each value of the picture (channels, sides...) that the first convolution over the input `name` takes, its place in a
    row; None where no convolution reads the input, but for being laid out anew and scaled.
    """
    rows = lessons.inputs[name][:2]
    count = rows[0].numel()
    if len(rows) < 2 or count > _MOST_VALUES or not rows.is_floating_point():
        return None
    current, places = name, torch.arange(2 * count, dtype=torch.float32).reshape(rows.shape)
    for call in network.calls:
        if current not in call.inputs:
            continue
        if call.operator == "Conv":
            found = places.reshape(2, -1).to(torch.int64)
            is_picture = call.inputs[0] == current and places.ndim > 2 and torch.equal(found[0].sort().values, torch.arange(count))
            is_apart = bool((found[1] - found[0] == count).all())
            return found[0].reshape(places.shape[1:]).numpy() if is_picture and is_apart else None
        moved = _moved(network, call, current, places, lessons)
        if moved is None:
            return None
        current, places = call.outputs[0], moved
    return None


def _moved(network: Network, call: Call, current: str, places: Tensor, lessons: Lessons) -> Tensor | None:
    """Return where the values of the call's output come from; None where that cannot be said."""
    if call.operator not in _MOVES | _SCALES or call.inputs[0] != current:
        return None
    sample = {name: value[:2] for name, value in lessons.inputs.items()}
    with torch.no_grad():
        given = network.forward(sample, [*filter(None, call.inputs), call.outputs[0]])
        if call.operator in _SCALES:
            return places if given[call.outputs[0]].shape == places.shape else None
        found: Tensor = SHAPE[call.operator](call, places, *(given[name] if name else None for name in call.inputs[1:]))
    return found


def _shifted(values: Array, picture: Array | None, random: np.random.Generator) -> Array:
    """Return rows whose pictures are shifted by up to _SHARE of each side, at least by one; what comes in repeats the edge."""
    if picture is None:
        return values
    flat = values.reshape(len(values), -1)
    steps = []
    for size in picture.shape[1:]:
        reach = max(1, round(size * _SHARE)) if size > 1 else 0
        steps.append(random.integers(-reach, reach + 1, len(values)))
    for step in np.unique(np.stack(steps, axis=1), axis=0):
        rows = np.flatnonzero((np.stack(steps, axis=1) == step).all(axis=1))
        source = picture
        for axis, (size, by) in enumerate(zip(picture.shape[1:], step, strict=True), start=1):
            source = source.take(np.clip(np.arange(size) + by, 0, size - 1), axis=axis)
        moved = flat[rows]
        moved[:, picture.reshape(-1)] = flat[rows][:, source.reshape(-1)]
        flat[rows] = moved
    return flat.reshape(values.shape)


def _answered(target: Tensor, answers: Mapping[str, Tensor], head: Head | None) -> Tensor | None:
    """Return the right answers, and behind them the original's to the shifted rows, in one form."""
    if head is None:
        return None
    given = answers[head.output]
    if head.aim is not Aim.CLASSES:
        return torch.cat([target, given.reshape(len(given), *target.shape[1:]).to(target.dtype)])
    likely = _distribution(given, head)
    if target.ndim < given.ndim:
        target = functional.one_hot(target.to(torch.int64), given.shape[-1])
    return torch.cat([target.reshape(len(target), *likely.shape[1:]).to(likely.dtype), likely])


def _distribution(given: Tensor, head: Head) -> Tensor:
    """Return the original's answers as one probability per class."""
    if head.is_logarithm:
        return torch.exp(given)
    if head.is_probability or head.value != head.output:
        return given / given.sum(-1, keepdim=True).clamp_min(math.ulp(1.0))
    return functional.softmax(given, dim=-1)
