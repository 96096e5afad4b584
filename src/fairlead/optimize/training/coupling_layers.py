"""How operators with weights carry units: products, convolutions, recurrent layers. Completes the table of rules.

What a product sums over are the units of the layer before: to cut one takes its contribution away, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.optimize.training.axes import Axis, Group, fix, new_axis, size_of, unite
from fairlead.optimize.training.coupling import Coupling, Rule, fix_everything
from fairlead.optimize.training.coupling_rules import BASIC
from fairlead.optimize.training.operation import Call

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _conv(coupling: Coupling, call: Call) -> None:
    """W is (out, in per group, window...); of the transposed form (in, out per group, window...)."""
    value, weight = coupling.of(call.inputs[0]), coupling.of(call.inputs[1])
    is_transposed = call.operator == "ConvTranspose"
    fix(*value[2:], *weight[2:])
    group_count = call.get("group", 1)
    near, far = (weight[1], weight[0]) if not is_transposed else (weight[0], weight[1])
    shape = coupling.shape(call.outputs[0])
    if group_count == 1:
        unite(value[1], near)
        out = far
    else:
        groups = new_axis(group_count)
        inner, outer = new_axis(coupling.shape(call.inputs[0])[1] // group_count), new_axis(shape[1] // group_count)
        unite(value[1], [*groups, *inner])
        out = [*groups, *outer]
        if is_transposed:
            unite(weight[0], [*groups, *inner])
            unite(weight[1], outer)
        else:
            unite(weight[0], out)
            unite(weight[1], inner)
        coupling.counted[call.place, "group"] = groups
    if len(call.inputs) > 2 and call.inputs[2]:
        unite(out, coupling.of(call.inputs[2])[0])
    coupling.axes[call.outputs[0]] = [value[0], out, *(new_axis(size, is_fixed=True) for size in shape[2:])]


def _gemm(coupling: Coupling, call: Call) -> None:
    left, right = list(coupling.of(call.inputs[0])), list(coupling.of(call.inputs[1]))
    left = left[::-1] if call.get("transA", 0) else left
    right = right[::-1] if call.get("transB", 0) else right
    unite(left[1], right[0])
    result = [left[0], right[1]]
    if len(call.inputs) > 2 and call.inputs[2]:
        bias = coupling.of(call.inputs[2])
        for axis, wanted in zip(reversed(bias), reversed(result), strict=False):
            if size_of(axis) != 1:
                unite(axis, wanted)
    coupling.axes[call.outputs[0]] = result


def _matmul(coupling: Coupling, call: Call) -> None:
    left, right = coupling.of(call.inputs[0]), coupling.of(call.inputs[1])
    if len(left) < 2 or len(right) < 2:
        fix_everything(coupling, call)
        return
    unite(left[-1], right[-2])
    rank = max(len(left), len(right))
    result: list[Axis] = []
    for place in range(rank - 2):
        pair = [axes[place - rank + len(axes)] for axes in (left, right) if place - rank + len(axes) >= 0]
        wide = [axis for axis in pair if size_of(axis) != 1]
        if len(wide) > 1:
            unite(wide[0], wide[1])
        result.append(wide[0] if wide else [])
    coupling.axes[call.outputs[0]] = [*result, left[-2], right[-1]]


def _einsum(coupling: Coupling, call: Call) -> None:
    equation = call.get("equation").decode().replace(" ", "")
    if "." in equation or "->" not in equation:
        fix_everything(coupling, call)
        return
    terms, _, wanted = equation.partition("->")
    by_letter: dict[str, Axis] = {}
    for name, term in zip(call.inputs, terms.split(","), strict=True):
        for letter, axis in zip(term, coupling.of(name), strict=True):
            if letter in by_letter:
                unite(by_letter[letter], axis)
            else:
                by_letter[letter] = axis
    for letter, axis in by_letter.items():
        if letter not in wanted and sum(letter in term for term in terms.split(",")) == 1:
            fix(axis)  # a plain sum over units
    coupling.axes[call.outputs[0]] = [by_letter[letter] for letter in wanted]


def _recurrent(coupling: Coupling, call: Call) -> None:
    """W is (directions, gates x units, inputs), R (directions, gates x units, units), B (directions, 2 x gates x units).

    X is (time, rows, inputs), Y (time, directions, rows, units), the last states (directions, rows, units).
    """
    gates = _GATES[call.operator]
    value, weight, recurrent = (coupling.of(name) for name in call.inputs[:3])
    units: Axis = [Group(coupling.shape(call.inputs[2])[2])]
    unite(value[2], weight[2])
    unite(weight[1], [*new_axis(gates, is_fixed=True), *units])
    unite(recurrent[1], [*new_axis(gates, is_fixed=True), *units])
    unite(recurrent[2], units)
    fix(weight[0], recurrent[0], value[0], value[1])
    given = [*call.inputs[3:], *[""] * 5]
    if given[0]:
        unite(coupling.of(given[0])[1], [*new_axis(2 * gates, is_fixed=True), *units])
        fix(coupling.of(given[0])[0])
    for name in given[2:4]:
        if name:
            unite(coupling.of(name)[2], units)
            fix(*coupling.of(name)[:2])
    for name in given[4:]:
        if name:
            fix(*coupling.of(name), units)
    directions = weight[0]
    results = [[value[0], directions, value[1], units], [directions, value[1], units], [directions, value[1], units]]
    for name, axes in zip(call.outputs, results, strict=False):
        if name:
            coupling.axes[name] = axes
    coupling.counted[call.place, "hidden_size"] = units


RULES: Mapping[str, Rule] = {
    **BASIC,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    **dict.fromkeys(_GATES, _recurrent),
}
