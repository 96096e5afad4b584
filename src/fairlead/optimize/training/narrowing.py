"""A network with fewer units: which groups it has, how wide each becomes, and the same groups found again after the cut.

Takes a course and a network; gives a Narrow. Raises UnsupportedError where there is nothing to cut or a cut is not whole. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError
from fairlead.optimize.training.axes import Group, groups_of, kept_elements, owners
from fairlead.optimize.training.coupling import Coupling, couple, cuttable
from fairlead.optimize.training.coupling_layers import RULES
from fairlead.optimize.training.course import Course
from fairlead.optimize.training.cutting import check_cut, cut
from fairlead.optimize.training.network import Network, network_of

_STEP = 4  # widths are multiples of it where a group is wide enough: what processors compute at once
_SHOWN = 8


@dataclass(frozen=True)
class Narrow:
    """A network, and the groups that may be cut: always in the same order, None for one that has a single unit left."""

    network: Network
    coupling: Coupling
    groups: tuple[Group | None, ...]

    @property
    def widths(self) -> list[int]:
        """How many units each group has."""
        return [1 if group is None else group.size for group in self.groups]


def narrowable(course: Course) -> Narrow:
    """Return the course's network with its groups; raises UnsupportedError where there are none."""
    coupling = couple(course.network, course.probe(), RULES)
    groups = cuttable(coupling, course.network)
    if not groups:
        raise UnsupportedError(
            "The model has no filters or neurons that could be left out.", hint="Leave the passes out that narrow networks."
        )
    return Narrow(course.network, coupling, tuple(groups))


def narrower(before: Sequence[int], kept_ratio: float) -> list[int]:
    """Return the widths of groups of which `kept_ratio` stays."""
    return [
        max(_STEP, round(size * kept_ratio / _STEP) * _STEP) if size >= 4 * _STEP else max(1, round(size * kept_ratio)) for size in before
    ]


def narrowed(course: Course, narrow: Narrow, widths: Sequence[int], scores: Sequence[Tensor | None]) -> Narrow:
    """Return the network with the `widths` units of each group that score highest; groups without scores stay as they are."""
    kept: dict[int, Array] = {}
    for group, score, width in zip(narrow.groups, scores, widths, strict=True):
        if group is not None and score is not None:
            mask = torch.zeros(group.size, dtype=torch.bool)
            mask[torch.argsort(score, descending=True, stable=True)[:width]] = True
            kept[id(group)] = mask.numpy()
    after = network_of(cut(narrow.network, narrow.coupling, kept))
    check_cut(narrow.network, narrow.coupling, kept, after, course.probe())
    coupling = couple(after, course.probe(), RULES)
    return Narrow(after, coupling, tuple(_found_again(group, narrow, kept, coupling) for group in narrow.groups))


def _found_again(group: Group | None, narrow: Narrow, kept: dict[int, Array], after: Coupling) -> Group | None:
    """Return the group that `group` is after the cut: the one with the same elements of one of its weights."""
    if group is None:
        return None
    units = kept.get(id(group), np.ones(group.size, dtype=bool))
    numbers = np.where(units, np.cumsum(units) - 1, -1)
    for name in narrow.network.parameters:
        for place, axis in enumerate(narrow.coupling.of(name)):
            if not any(item is group for item in groups_of(axis)):
                continue
            before = owners(axis, group)[kept_elements(axis, kept)]
            wanted = np.where(before >= 0, numbers[before], -1)
            for other in groups_of(after.of(name)[place]):
                if other.size > 1 and np.array_equal(owners(after.of(name)[place], other), wanted):
                    return other
            return None
    return None


def shown(widths: Sequence[int]) -> str:
    """Return widths for a sentence."""
    text = ", ".join(str(width) for width in widths[:_SHOWN])
    return f"{text}, ... ({len(widths)} groups)" if len(widths) > _SHOWN else text
