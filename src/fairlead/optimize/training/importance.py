"""How much each unit of a group matters, and Ω(θ) that makes those that do not matter small.

Takes a network and its coupling; gives one number per unit. Group norm: the length of all weights that belong to a unit, each tensor by its
own mean, so that no layer outweighs another. Taylor: what the loss would change by if the unit were gone, to first order (Molchanov et al.
2019, https://arxiv.org/abs/1906.10771). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fairlead.optimize.training.axes import Group, groups_of, owners
from fairlead.optimize.training.coupling import Coupling
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.objective import Objective

_TAYLOR_ROWS, _TAYLOR_BATCH = 512, 64
_TINY = 1e-12


def _members(network: Network, coupling: Coupling, group: Group) -> Iterator[tuple[str, int, Tensor]]:
    """Yield (weight, axis, which unit each element along the axis belongs to) of every weight that `group` reaches into."""
    for name in network.parameters:
        for place, axis in enumerate(coupling.of(name)):
            if any(item is group for item in groups_of(axis)):
                yield name, place, torch.from_numpy(owners(axis, group))


def _per_unit(values: Tensor, place: int, owner: Tensor, size: int) -> Tensor:
    """Return the sum of `values` over each unit, shape (size,)."""
    along = values.transpose(0, place).reshape(values.shape[place], -1).sum(1)
    known = owner >= 0
    return along.new_zeros(size).index_add(0, owner[known], along[known])


def group_norms(network: Network, coupling: Coupling, group: Group) -> Tensor:
    """Return the importance of each unit of `group` by the length of its weights."""
    total = torch.zeros(group.size)
    for name, place, owner in _members(network, coupling, group):
        squares = _per_unit(network.parameters[name].detach() ** 2, place, owner, group.size)
        if network.parameters[name].ndim > 1:  # biases and scales say little beside what they stand for
            total = total + squares / (squares.mean() + _TINY)
    return total.sqrt()


def taylor(network: Network, coupling: Coupling, groups: Sequence[Group], lessons: Lessons, objective: Objective) -> list[Tensor]:
    """Return the importance of each unit of each group by what the loss would change by, over training rows."""
    totals = [torch.zeros(group.size) for group in groups]
    members = [list(_members(network, coupling, group)) for group in groups]
    weights = list(network.parameters.values())
    rows = lessons.learned[:_TAYLOR_ROWS]
    for start in range(0, len(rows), _TAYLOR_BATCH):
        inputs, teacher, target = lessons.batch(rows[start : start + _TAYLOR_BATCH])
        loss = objective.loss(network.forward(inputs, objective.wanted), teacher, target)
        slopes = dict(zip(network.parameters, torch.autograd.grad(loss, weights, allow_unused=True), strict=True))
        for total, group, reached in zip(totals, groups, members, strict=True):
            change = torch.zeros(group.size)
            for name, place, owner in reached:
                slope = slopes[name]
                if slope is not None:
                    change = change + _per_unit(network.parameters[name].detach() * slope, place, owner, group.size)
            total.add_(change**2)
    return [total.sqrt() for total in totals]


def group_lasso(coupling: Coupling, network: Network, groups: Sequence[Group], weight: float) -> Callable[[Network], Tensor]:
    """Return Ω(θ): the sum over units of the length of their weights (Yuan and Lin 2006), which brings whole units to zero."""
    reached = [(group, list(_members(network, coupling, group))) for group in groups]

    def penalty(current: Network) -> Tensor:
        total = torch.zeros(())
        for group, members in reached:
            squares = torch.zeros(group.size)
            for name, place, owner in members:
                squares = squares + _per_unit(current.parameters[name] ** 2, place, owner, group.size)
            total = total + torch.sqrt(squares + _TINY).sum()
        return weight * total

    return penalty
