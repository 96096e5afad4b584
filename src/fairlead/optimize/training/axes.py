"""What the axes of a network's tensors mean: which of them are the same units seen again, through reshaping, joining and splitting.

A unit is a filter, a neuron, an attention head, a recurrent cell. An axis is a product of parts, the slowest first; a part is a group of
units, or a sum: axes one after the other (what Concat makes). Two axes that must have the same elements are united, and are split where one
of them is known more finely. What cannot be matched is fixed: fixed groups are never cut. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from fairlead.core.interface import Array


@dataclass(eq=False)
class Group:
    """`size` units that stay or go together wherever they appear; `is_fixed` ones all stay. `known_as` is its finer form, once found."""

    size: int
    is_fixed: bool = False
    known_as: Axis | None = None


@dataclass(eq=False)
class Sum:
    """Axes one after the other."""

    parts: list[Axis] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many elements all parts have together."""
        return sum(size_of(part) for part in self.parts)


Part: TypeAlias = Group | Sum
Axis: TypeAlias = list[Part]


def size_of(axis: Axis) -> int:
    """Return how many elements `axis` has."""
    return math.prod(part.size for part in axis)


def new_axis(size: int, *, is_fixed: bool = False) -> Axis:
    """Return an axis of new units; of nothing where it has one element, which can mean anything."""
    return [] if size == 1 else [Group(size, is_fixed)]


def resolved(axis: Axis) -> Axis:
    """Return `axis` in its finest known form."""
    result: Axis = []
    for part in axis:
        if isinstance(part, Group) and part.known_as is not None:
            result.extend(resolved(part.known_as))
        elif isinstance(part, Sum):
            parts = [resolved(item) for item in part.parts]
            result.extend(parts[0] if len(parts) == 1 else [Sum(parts)])
        else:
            result.append(part)
    return result


def groups_of(axis: Axis) -> Iterator[Group]:
    """Yield every group in `axis`."""
    for part in resolved(axis):
        if isinstance(part, Group):
            yield part
        else:
            for item in part.parts:
                yield from groups_of(item)


def is_same(left: Axis, right: Axis) -> bool:
    """Whether both axes are known to be of the same units in the same order."""
    left, right = resolved(left), resolved(right)
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))


def fix(*axes: Axis) -> None:
    """Let nothing in `axes` ever be cut."""
    for axis in axes:
        for group in groups_of(axis):
            group.is_fixed = True


def unite(left: Axis, right: Axis) -> None:
    """Let the elements of both axes be the same ones, in the same order; what cannot be matched is fixed."""
    left, right = resolved(left), resolved(right)
    if size_of(left) != size_of(right):
        fix(left, right)
        return
    while left and right:
        first, second = left[0], right[0]
        if first.size == second.size:
            if first is not second:
                _unite_parts(first, second)
            left, right = resolved(left[1:]), resolved(right[1:])
        elif _split_larger(first, second):
            left, right = resolved(left), resolved(right)
        else:
            fix(left, right)
            return


def _unite_parts(first: Part, second: Part) -> None:
    if isinstance(first, Group) or isinstance(second, Group):
        group, other = (first, second) if isinstance(first, Group) else (second, first)
        if isinstance(group, Group):
            if group.is_fixed:
                fix([other])
            group.known_as = [other]
    elif [size_of(part) for part in first.parts] == [size_of(part) for part in second.parts]:
        for left, right in zip(first.parts, second.parts, strict=True):
            unite(left, right)
    else:
        fix([first], [second])


def _split_larger(first: Part, second: Part) -> bool:
    """Split the larger of two parts so that its first factor is as large as the smaller; False where it cannot be."""
    large, small = (first, second) if first.size > second.size else (second, first)
    if not isinstance(large, Group) or large.size % small.size:
        return False
    large.known_as = [Group(small.size, large.is_fixed), Group(large.size // small.size, large.is_fixed)]
    return True


def regroup(axes: Iterable[Axis], sizes: Sequence[int]) -> list[Axis]:
    """Return the axes of a tensor with `axes` after it is reshaped to `sizes`, in row-major order."""
    left = [part for axis in axes for part in resolved(axis)]
    result: list[Axis] = []
    for size in sizes:
        axis: Axis = []
        while size_of(axis) < size and left:
            part = left.pop(0)
            missing = size // size_of(axis)
            if part.size <= missing and missing % part.size == 0 and size % size_of(axis) == 0:
                axis.append(part)
            elif isinstance(part, Group) and missing > 1 and part.size % missing == 0:
                part.known_as = [Group(missing, part.is_fixed), Group(part.size // missing, part.is_fixed)]
                left[:0] = part.known_as
            else:
                fix([part], left, axis, *result)
                return [new_axis(item, is_fixed=True) for item in sizes]
        if size_of(axis) != size:
            fix(left, axis, *result)
            return [new_axis(item, is_fixed=True) for item in sizes]
        result.append(axis)
    return result


def kept_elements(axis: Axis, kept: Mapping[int, Array]) -> Array:
    """Return which elements of `axis` stay; `kept` says it of the units of each cut group, by the group's id()."""
    mask = np.ones(1, dtype=bool)
    for part in resolved(axis):
        if isinstance(part, Group):
            here = kept.get(id(part), np.ones(part.size, dtype=bool))
        else:
            here = np.concatenate([kept_elements(item, kept) for item in part.parts])
        mask = np.logical_and.outer(mask, here).reshape(-1)
    return mask


def owners(axis: Axis, group: Group) -> Array:
    """Return, for each element of `axis`, which unit of `group` it belongs to; -1 where it belongs to none."""
    result = np.full(1, -1, dtype=np.int64)
    for part in resolved(axis):
        if part is group:
            here = np.arange(group.size)
        elif isinstance(part, Group):
            here = np.full(part.size, -1, dtype=np.int64)
        else:
            here = np.concatenate([owners(item, group) for item in part.parts])
        result = np.maximum.outer(result, here).reshape(-1)
    return result


def cut_ends(axis: Axis, pieces: Sequence[int]) -> list[Axis]:
    """Return the axes that `axis` falls into when it is taken apart into `pieces` elements one after the other."""
    parts = resolved(axis)
    if len(parts) == 1 and isinstance(parts[0], Group):
        made: list[Axis] = [new_axis(size, is_fixed=parts[0].is_fixed) if size != 1 else [Group(1, is_fixed=True)] for size in pieces]
        parts[0].known_as = [Sum(made)]
        return made
    if len(parts) == 1 and isinstance(parts[0], Sum) and [size_of(part) for part in parts[0].parts] == list(pieces):
        return parts[0].parts
    if parts and isinstance(parts[0], Group) and all(size % (size_of(parts) // parts[0].size) == 0 for size in pieces):
        inner = parts[1:]
        return [[*outer, *inner] for outer in cut_ends([parts[0]], [size // size_of(inner) for size in pieces])]
    fix(axis)
    return [new_axis(size, is_fixed=True) for size in pieces]
