"""Which units of a network belong together: every tensor's axes, followed through the whole graph.

Takes a network and a few rows to see shapes with; gives a Coupling: the axes of every value and stored tensor, and for operators that carry
a size as an attribute, the axis it counts. Operators that are not known here fix everything they touch, so what is left may be cut. Pure:
changes neither network nor model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from fairlead.core.interface import Tensors, shorten
from fairlead.errors import DataError, UnsupportedError
from fairlead.optimize.training.axes import Axis, Group, Sum, fix, groups_of, new_axis, resolved
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.operation import Call

PROBE_ROWS = 7  # a size that layers seldom have
OTHER_PROBE_ROWS = 5  # what differs from the first probe depends on the number of rows
# Free sizes of the second probe, the first that the model takes: networks that halve a picture several times take few.
_SMALLER: tuple[Callable[[int], int], ...] = (lambda size: size - 1, lambda size: size // 2, lambda size: size - 8)


@dataclass
class Coupling:
    """`axes` of values by name; `counted` the axis that an operator's attribute counts, by (operator's place, attribute's name).

    `reshapes` say where each size of a Reshape comes from, by its place: a "size" of its own, a "copy" of the
    input's, the "rest", or as it is computed in the "old" graph.
    `values` are those of the probe with PROBE_ROWS rows, `other_shapes` the shapes with OTHER_PROBE_ROWS and other free sizes.
    """

    values: Mapping[str, Tensor]
    other_shapes: Mapping[str, tuple[int, ...]]
    axes: dict[str, list[Axis]] = field(default_factory=dict)
    counted: dict[tuple[int, str], Axis] = field(default_factory=dict)
    reshapes: dict[int, list[str]] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value in the probe."""
        return tuple(self.values[name].shape)

    def of(self, name: str) -> list[Axis]:
        """Return the axes of a value."""
        return self.axes[name]

    def fixed(self, name: str) -> list[Axis]:
        """Return axes for a value of which nothing is known."""
        return [new_axis(size, is_fixed=True) for size in self.shape(name)]


Rule: TypeAlias = Callable[[Coupling, Call], None]


def couple(network: Network, rows: Tensors, rules: Mapping[str, Rule]) -> Coupling:
    """Return how the units of `network` belong together; `rows` are at least PROBE_ROWS rows that it takes."""
    names = [name for call in network.calls for name in call.outputs if name]
    stored = {**network.parameters, **network.statistics, **network.constants}
    first, second = _probes(network, rows, names)
    coupling = Coupling(first, {name: tuple(value.shape) for name, value in second.items()})
    for name, value in stored.items():
        is_fixed = not value.is_floating_point()
        coupling.axes[name] = [new_axis(size, is_fixed=is_fixed) for size in value.shape]
    for name in network.inputs:
        coupling.axes[name] = coupling.fixed(name)
    for call in network.calls:
        rules.get(call.operator, fix_everything)(coupling, call)
    for name in network.surface:
        fix(*coupling.axes.get(name, []))
    return coupling


def _probes(network: Network, rows: Tensors, names: list[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return all values for some rows, and for fewer rows in which free sizes are smaller as well."""
    whole = {name: torch.from_numpy(np.array(rows[name])) for name in network.inputs}
    if min(value.shape[0] for value in whole.values()) < PROBE_ROWS:
        raise DataError("There are too few rows to see shapes with.", hint=f"Give at least {PROBE_ROWS}.")
    first = _probe(network, {name: value[:PROBE_ROWS] for name, value in whole.items()}, names)
    problem = ""
    for smaller in _SMALLER:
        inputs = {name: value[:OTHER_PROBE_ROWS] for name, value in whole.items()}
        for value in network.model.graph.input:
            for axis, size in enumerate(value.type.tensor_type.shape.dim):
                if axis and not size.dim_value:
                    length = inputs[value.name].shape[axis]
                    if length < 2:
                        raise DataError(
                            f"The input '{shorten(value.name)}' has a free size, and it is 1 in all training rows.",
                            hint="Give rows of other sizes too, so that what depends on them can be seen.",
                        )
                    inputs[value.name] = inputs[value.name].narrow(axis, 0, max(1, smaller(length)))
        try:
            return first, _probe(network, inputs, names)
        except (RuntimeError, ValueError, IndexError) as error:
            problem = str(error)
    raise UnsupportedError(
        f"The model does not run with other free sizes than those of the rows: {shorten(problem, 200)}.",
        hint="Leave the pass out, or export the model with fixed sizes.",
    )


def _probe(network: Network, inputs: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    stored = {**network.parameters, **network.statistics, **network.constants}
    with torch.no_grad():
        return {**stored, **inputs, **(network.forward(inputs, names) if names else {})}


def fix_everything(coupling: Coupling, call: Call) -> None:
    """What is done for an operator without a rule: nothing that it reads or writes is ever cut."""
    for name in call.inputs:
        if name:
            fix(*coupling.of(name))
    for name in call.outputs:
        if name:
            coupling.axes[name] = coupling.fixed(name)


def cuttable(coupling: Coupling, network: Network) -> list[Group]:
    """Return the groups of units that may be cut, in the order in which the network's weights name them.

    Where an axis is a product of several (heads of channels), the one with the most units is taken: both would be cut twice.
    """
    found: dict[int, Group] = {}
    passed: set[int] = set()
    for name in network.parameters:
        for axis in coupling.of(name):
            free = [group for group in groups_of(axis) if not group.is_fixed and group.size > 1]
            found.update({id(group): group for group in free})
    for name in network.parameters:
        for axis in coupling.of(name):
            passed.update(_passed_over(axis))
    return [group for key, group in found.items() if key not in passed]


def _passed_over(axis: Axis) -> set[int]:
    """Return the groups of a product that are left whole because another factor of it is cut."""
    passed: set[int] = set()
    parts = resolved(axis)
    free = [part for part in parts if isinstance(part, Group) and not part.is_fixed and part.size > 1]
    if len(free) > 1:
        largest = max(free, key=lambda group: group.size)
        passed.update(id(group) for group in free if group is not largest)
    for part in parts:
        if isinstance(part, Sum):
            for item in part.parts:
                passed.update(_passed_over(item))
    return passed
