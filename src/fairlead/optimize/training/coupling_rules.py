"""How each ONNX operator carries units from what it reads to what it writes. One rule per kind of operator, in one table.

A rule gives the axes of the operator's outputs and unites axes that must have the same units. It fixes every axis whose units an operator
mixes (what Softmax or a mean runs over) or counts (what is padded or sliced with a step): to cut those would change what the rest means.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.optimize.training.axes import Axis, Group, Sum, cut_ends, fix, is_same, new_axis, regroup, size_of, unite
from fairlead.optimize.training.coupling import Coupling, Rule
from fairlead.optimize.training.operation import Call
from fairlead.optimize.training.ops_elementwise import ELEMENTWISE
from fairlead.optimize.training.ops_shape import axes_of, pad_sizes, slice_bounds


def _elementwise(coupling: Coupling, call: Call) -> None:
    """Axes are matched from the last one; one of size 1 serves every unit of the other."""
    names = [name for name in call.inputs if name]
    rank = len(coupling.shape(call.outputs[0]))
    result: list[Axis] = [[] for _ in range(rank)]
    for name in names:
        axes = coupling.of(name)
        for place, axis in enumerate(axes, start=rank - len(axes)):
            if size_of(axis) == 1:
                continue
            if size_of(result[place]) == 1:
                result[place] = axis
            else:
                unite(result[place], axis)
    coupling.axes[call.outputs[0]] = result


def _first_only(coupling: Coupling, call: Call) -> None:
    """The output's axes are the first input's; other inputs are numbers."""
    coupling.axes[call.outputs[0]] = list(coupling.of(call.inputs[0]))
    for name in call.outputs[1:]:
        if name:
            coupling.axes[name] = coupling.fixed(name)


def _channelwise(coupling: Coupling, call: Call) -> None:
    """Normalization of each channel by itself: one stored number per channel."""
    axes = coupling.of(call.inputs[0])
    for name in call.inputs[1:]:
        if name:
            unite(axes[1], coupling.of(name)[0])
    coupling.axes[call.outputs[0]] = list(axes)


def _layer_norm(coupling: Coupling, call: Call) -> None:
    axes = coupling.of(call.inputs[0])
    fix(*axes[call.get("axis", -1) % len(axes) :])
    for name in call.inputs[1:]:
        if name:
            fix(*coupling.of(name))
    coupling.axes[call.outputs[0]] = list(axes)
    for name in call.outputs[1:]:
        if name:
            coupling.axes[name] = coupling.fixed(name)


def _softmax(coupling: Coupling, call: Call) -> None:
    axes = coupling.of(call.inputs[0])
    first = call.get("axis", -1 if call.opset >= 13 else 1) % len(axes)
    fix(*(axes[first : first + 1] if call.opset >= 13 else axes[first:]))
    coupling.axes[call.outputs[0]] = list(axes)


def _reduce(coupling: Coupling, call: Call) -> None:
    axes = coupling.of(call.inputs[0])
    named = axes_of(call, coupling.values[call.inputs[1]] if len(call.inputs) > 1 and call.inputs[1] else None)
    if call.operator == "ArgMax":
        named = [call.get("axis", 0)]
    if not named and call.get("noop_with_empty_axes", 0):
        coupling.axes[call.outputs[0]] = list(axes)
        return
    gone = {axis % len(axes) for axis in (named or range(len(axes)))}
    fix(*(axes[place] for place in gone))
    kept: list[Axis] = [[] if place in gone else axis for place, axis in enumerate(axes)]
    coupling.axes[call.outputs[0]] = kept if call.get("keepdims", 1) else [axis for place, axis in enumerate(axes) if place not in gone]


def _windows(coupling: Coupling, call: Call) -> None:
    """Pooling and resizing: rows and channels pass, places are made anew."""
    axes, shape = coupling.of(call.inputs[0]), coupling.shape(call.outputs[0])
    fix(*axes[2:])
    if shape[:2] != coupling.shape(call.inputs[0])[:2]:
        fix(*axes)
        coupling.axes[call.outputs[0]] = coupling.fixed(call.outputs[0])
        return
    coupling.axes[call.outputs[0]] = [*axes[:2], *(new_axis(size, is_fixed=True) for size in shape[2:])]


def _reshape(coupling: Coupling, call: Call) -> None:
    """What Reshape is told anew where units are cut: its own sizes are counted, those that depend on the rows are copied or worked out.

    Where more than one would have to be worked out, they are computed as before; then no units may be cut from those axes.
    """
    before, name = coupling.of(call.inputs[0]), call.outputs[0]
    after = coupling.axes[name] = regroup(before, coupling.shape(name))
    if call.operator != "Reshape":
        return
    plan: list[str] = []
    for place, (size, other) in enumerate(zip(coupling.shape(name), coupling.other_shapes[name], strict=True)):
        is_copy = place < len(before) and is_same(before[place], after[place]) and size != 1
        plan.append("size" if size == other else "copy" if is_copy else "rest")
    if plan.count("rest") > 1:
        fix(*(axis for axis, word in zip(after, plan, strict=True) if word != "size"))
        plan = [word if word == "size" else "old" for word in plan]
    coupling.reshapes[call.place] = plan


def _transpose(coupling: Coupling, call: Call) -> None:
    axes = coupling.of(call.inputs[0])
    coupling.axes[call.outputs[0]] = [axes[place] for place in call.get("perm", range(len(axes) - 1, -1, -1))]


def _concat(coupling: Coupling, call: Call) -> None:
    inputs = [coupling.of(name) for name in call.inputs]
    joined = call.get("axis") % len(inputs[0])
    result = list(inputs[0])
    for axes in inputs[1:]:
        for place, axis in enumerate(axes):
            if place != joined:
                unite(result[place], axis)
    # A single element is a unit of its own here, which no other axis can stand for.
    parts: list[Axis] = [axes[joined] if size_of(axes[joined]) != 1 else [Group(1, is_fixed=True)] for axes in inputs]
    result[joined] = [Sum(parts)] if len(parts) > 1 else parts[0]
    coupling.axes[call.outputs[0]] = result


def _split(coupling: Coupling, call: Call) -> None:
    axes = coupling.of(call.inputs[0])
    taken = call.get("axis", 0) % len(axes)
    pieces = [coupling.shape(name)[taken] for name in call.outputs]
    for number, (name, part) in enumerate(zip(call.outputs, cut_ends(axes[taken], pieces), strict=True)):
        coupling.axes[name] = [part if place == taken else axis for place, axis in enumerate(axes)]
        coupling.counted[call.place, f"split{number}"] = part


def _slice(coupling: Coupling, call: Call) -> None:
    axes = list(coupling.of(call.inputs[0]))
    given = tuple(coupling.values[name] if name else None for name in call.inputs[1:])
    for axis, start, end, step in slice_bounds(call, coupling.values[call.inputs[0]], given):
        size = size_of(axes[axis])
        if (start, max(start, end), step) == (0, size, 1):
            continue
        fix(axes[axis])  # where units end up would have to be counted again
        axes[axis] = new_axis(coupling.shape(call.outputs[0])[axis], is_fixed=True)
    coupling.axes[call.outputs[0]] = axes


def _pad(coupling: Coupling, call: Call) -> None:
    axes = list(coupling.of(call.inputs[0]))
    given = tuple(coupling.values[name] if name else None for name in call.inputs[1:])
    for place, pair in enumerate(pad_sizes(call, coupling.values[call.inputs[0]], given)):
        if pair != (0, 0):
            fix(axes[place])
            axes[place] = new_axis(coupling.shape(call.outputs[0])[place], is_fixed=True)
    coupling.axes[call.outputs[0]] = axes


def _gather(coupling: Coupling, call: Call) -> None:
    data, indices = coupling.of(call.inputs[0]), coupling.of(call.inputs[1])
    axis = call.get("axis", 0) % len(data)
    fix(data[axis])
    coupling.axes[call.outputs[0]] = [*data[:axis], *indices, *data[axis + 1 :]]


def _numbers(coupling: Coupling, call: Call) -> None:
    """Shapes and counts: what they say of cut axes is made anew by those who use them for reshaping."""
    for name in call.outputs:
        if name:
            coupling.axes[name] = coupling.fixed(name)


BASIC: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Dropout", "Clip", "CastLike"), _first_only),
    "BatchNormalization": _channelwise,
    "InstanceNormalization": _channelwise,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _layer_norm,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ArgMax"), _reduce),
    **dict.fromkeys(("ReduceSumSquare", "ReduceLogSumExp"), _reduce),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"), _windows),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    **dict.fromkeys(("Shape", "Size"), _numbers),
}
