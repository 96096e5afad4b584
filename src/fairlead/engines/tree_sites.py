"""Where a graph adds up trees: the tree operator itself, or the operator as a finder of leaves whose values stand in a table.

Takes an ONNX model; gives sites, each with the ensemble whose sums are one value of the graph, and writes changed ensembles back in the
form that they were read from. Converted scikit-learn models use the second form, so that doubles are added from first to last
(convert/sklearn/trees.py). Raises UnsupportedError for trees in a form that is neither. Nothing outside of a site is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.engines.tree_operator import is_tree_node, read_operator, write_operator
from fairlead.errors import UnsupportedError

_LAST = -1


@dataclass(frozen=True)
class Lookup:
    """The nodes behind a finder of leaves: first numbers to rows of a table, then sums in order, per output where `parts` has several."""

    add: Any
    gather: Any
    reshape: Any | None
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Site:
    """`trees` add up to the value `sums` of the graph for the value `rows`; `lookup` is None where the operator adds by itself."""

    node: Any
    trees: TreeEnsemble
    rows: str
    sums: str
    lookup: Lookup | None = None


class _Wiring:
    """Who makes and who takes each value of a graph."""

    def __init__(self, graph: Any) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.ends = {value.name for value in graph.output}
        self._takers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._takers.setdefault(name, []).append(node)

    def takers(self, name: str) -> list[Any]:
        """Return who takes the value."""
        return self._takers.get(name, [])

    def only(self, name: str, *kinds: str) -> Any | None:
        """Return the only taker of the value, where it is of one of these kinds and the value is no output of the graph."""
        found = self.takers(name)
        return found[0] if len(found) == 1 and found[0].op_type in kinds and name not in self.ends else None

    def constant(self, name: str) -> Array | None:
        """Return the stored value called `name`."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)


def find_sites(model: Any) -> tuple[Site, ...]:
    """Return every site of the graph, in its order; raises UnsupportedError where trees stand in a form that is not known."""
    wiring = _Wiring(model.graph)
    return tuple(_site(node, wiring) for node in model.graph.node if is_tree_node(node))


def _site(node: Any, wiring: _Wiring) -> Site:
    trees = read_operator(node)
    if node.op_type != "TreeEnsembleRegressor":
        return Site(node, trees, node.input[0], node.output[0])
    cast = wiring.only(node.output[0], "Cast")
    add = wiring.only(cast.output[0], "Add") if cast is not None and _type(cast) == TensorProto.INT64 else None
    if add is None:
        return Site(node, trees, node.input[0], node.output[0])
    gather = wiring.only(add.output[0], "Gather")
    starts, table = wiring.constant(add.input[1]), None if gather is None else wiring.constant(gather.input[0])
    if gather is None or starts is None or table is None or table.ndim != 2 or starts.shape != (trees.tree_count,):
        raise _unknown()
    if trees.leaf_values.shape[1] != 1 or not np.array_equal(trees.groups, np.arange(trees.tree_count)):
        raise _unknown()
    return _lookup_site(node, _with_table(trees, starts, table), (add, gather), wiring)


def _type(node: Any) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "to"), 0)


def _with_table(trees: TreeEnsemble, starts: Array, table: Array) -> TreeEnsemble:
    """Return the ensemble with the table's rows in its leaves, which hold their numbers so far."""
    order, tree = depth_first(trees)
    numbers = np.zeros(trees.node_count, dtype=np.int64)
    numbers[order] = starts[tree]
    is_leaf = trees.splits == Split.LEAF
    places = np.where(is_leaf, trees.leaf_values[:, 0].astype(np.int64) + numbers, 0)
    if places.min() < 0 or places.max() >= len(table):
        raise _unknown()
    values = np.where(is_leaf[:, np.newaxis], table[places], 0.0).astype(np.float64)
    width = table.shape[1]
    groups = np.zeros(trees.tree_count, dtype=np.int32)
    return replace(trees, leaf_values=values, groups=groups, output_count=width, base=np.zeros(width), sum_dtype=DType.FP64)


def _lookup_site(node: Any, trees: TreeEnsemble, found: tuple[Any, Any], wiring: _Wiring) -> Site:
    add, gather = found
    value = gather.output[0]
    cast = wiring.only(value, "Cast")
    if cast is not None:
        value = cast.output[0]
        if _type(cast) not in (TensorProto.FLOAT, TensorProto.DOUBLE):
            raise _unknown()
        trees = replace(trees, sum_dtype=DType.FP32 if _type(cast) == TensorProto.FLOAT else DType.FP64)
    reshape = wiring.only(value, "Reshape")
    if reshape is not None:
        shape = wiring.constant(reshape.input[1])
        if shape is None or len(shape) != 3 or trees.output_count != 1 or int(shape[1] * shape[2]) != trees.tree_count:
            raise _unknown()
        return _checked(
            node,
            _grouped(trees, np.arange(trees.tree_count) % int(shape[2])),
            _sum_of(reshape.output[0], wiring),
            Lookup(add, gather, reshape, ()),
        )
    if all(taker.op_type == "Gather" for taker in wiring.takers(value)) and wiring.takers(value) and value not in wiring.ends:
        return _parted_site(node, trees, (add, gather), value, wiring)
    return _checked(node, trees, _sum_of(value, wiring), Lookup(add, gather, None, ()))


def _parted_site(node: Any, trees: TreeEnsemble, found: tuple[Any, Any], value: str, wiring: _Wiring) -> Site:
    """Trees of one output each, gathered and added output by output, and then set side by side."""
    parts = wiring.takers(value)
    groups = np.full(trees.tree_count, -1)
    sums = []
    for number, part in enumerate(parts):
        chosen = wiring.constant(part.input[1])
        if chosen is None or trees.output_count != 1 or (groups[chosen] >= 0).any():
            raise _unknown()
        groups[chosen] = number
        sums.append(_sum_of(part.output[0], wiring))
    concat = wiring.only(sums[0], "Concat")
    if concat is None or list(concat.input) != sums or (groups < 0).any():
        raise _unknown()
    return _checked(node, _grouped(trees, groups), concat.output[0], Lookup(*found, None, tuple(parts)))


def _grouped(trees: TreeEnsemble, groups: Array) -> TreeEnsemble:
    count = int(groups.max()) + 1
    return replace(trees, groups=groups.astype(np.int32), output_count=count, base=np.zeros(count))


def _sum_of(value: str, wiring: _Wiring) -> str:
    """Return what the running sum over the trees ends with."""
    running = wiring.only(value, "CumSum")
    last = wiring.only(running.output[0], "Gather") if running is not None else None
    index = wiring.constant(last.input[1]) if last is not None else None
    if running is None or last is None or index is None or index.shape != () or int(index) != _LAST:
        raise _unknown()
    return str(last.output[0])


def _checked(node: Any, trees: TreeEnsemble, sums: str, lookup: Lookup) -> Site:
    trees.check()
    return Site(node, trees, node.input[0], sums, lookup)


def _unknown() -> UnsupportedError:
    return UnsupportedError(
        "The graph uses trees in a form that cannot be changed safely.", hint="Leave the passes for trees out for this model."
    )


def write_site(model: Any, site: Site, trees: TreeEnsemble) -> None:
    """Put `trees` into the place of the site's in `model`, from which the site was read."""
    if site.lookup is None:
        _replace_node(model.graph, site.node, write_operator(trees, site.node))
        return
    if site.lookup.reshape is not None:
        trees = in_rounds(trees)
    elif site.lookup.parts:
        trees = _with_every_output(trees)
    order, tree = depth_first(trees)
    is_leaf = trees.splits[order] == Split.LEAF
    leaves = order[is_leaf]
    counts = np.bincount(tree[is_leaf], minlength=trees.tree_count)
    starts = np.cumsum([0, *counts[:-1].tolist()])
    numbers = np.zeros((trees.node_count, 1))
    numbers[leaves, 0] = np.arange(len(leaves)) - starts[tree[is_leaf]]
    finder = replace(
        trees, leaf_values=numbers, groups=np.arange(trees.tree_count, dtype=np.int32), output_count=trees.tree_count,
        base=np.zeros(trees.tree_count), sum_dtype=trees.compare_dtype,
    )  # fmt: skip
    written = write_operator(finder, site.node)
    next(item for item in written.attribute if item.name == "n_targets").i = trees.tree_count
    _replace_node(model.graph, site.node, written)
    constants = _Constants(model.graph)
    lookup = site.lookup
    constants.put(lookup.add, 1, starts.astype(np.int64))
    constants.put(lookup.gather, 0, trees.leaf_values[leaves])
    if lookup.reshape is not None:
        constants.put(lookup.reshape, 1, np.array([-1, trees.tree_count // trees.output_count, trees.output_count], dtype=np.int64))
    for number, part in enumerate(lookup.parts):
        constants.put(part, 1, np.flatnonzero(trees.groups == number).astype(np.int64))
    constants.drop_unused()


def in_rounds(trees: TreeEnsemble) -> TreeEnsemble:
    """Return the trees round by round, one per output in each, with trees of zero where an output has fewer than others."""
    counts = np.bincount(trees.groups, minlength=trees.output_count)
    rounds = max(int(counts.max(initial=0)), 1)
    missing = [(output, rounds - int(count)) for output, count in enumerate(counts)]
    added = [output for output, count in missing for _ in range(count)]
    if added:
        trees = _with_zero_trees(trees, added)
    places = np.empty(trees.tree_count, dtype=np.int64)
    for output in range(trees.output_count):
        places[np.flatnonzero(trees.groups == output)] = np.arange(rounds) * trees.output_count + output
    order = np.argsort(places)
    return replace(trees, roots=trees.roots[order], groups=trees.groups[order])


def _with_every_output(trees: TreeEnsemble) -> TreeEnsemble:
    empty = sorted(set(range(trees.output_count)) - set(trees.groups.tolist()))
    return _with_zero_trees(trees, empty) if empty else trees


def _with_zero_trees(trees: TreeEnsemble, outputs: list[int]) -> TreeEnsemble:
    """Return the ensemble with one more tree of zero for each of `outputs`."""
    count, added = trees.node_count, len(outputs)
    grown: dict[str, Any] = {
        name: np.concatenate([getattr(trees, name), np.zeros((added, *getattr(trees, name).shape[1:]), getattr(trees, name).dtype)])
        for name in ("splits", "features", "thresholds", "left", "right", "missing", "missing_left", "leaf_values", "unknown_category_left")
    }
    return replace(
        trees,
        **grown,
        roots=np.concatenate([trees.roots, count + np.arange(added)]).astype(np.int32),
        groups=np.concatenate([trees.groups, outputs]).astype(np.int32),
        category_offsets=np.concatenate([trees.category_offsets, np.repeat(trees.category_offsets[-1:], added)]),
    )


def _replace_node(graph: Any, old: Any, new: Any) -> None:
    place = next(number for number, node in enumerate(graph.node) if list(node.output) == list(old.output))
    graph.node[place].CopyFrom(new)


class _Constants:
    """Stored values of a graph, put in under new names: others may use the old ones."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._taken = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in (*node.input, *node.output)}

    def put(self, node: Any, position: int, value: Array) -> None:
        """Store `value` and let the input of `node` at `position` be it."""
        name, number = f"{node.input[position]}_trees", 2
        while name in self._taken:
            name, number = f"{node.input[position]}_trees_{number}", number + 1
        self._taken.add(name)
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        own = next(item for item in self._graph.node if list(item.output) == list(node.output))
        own.input[position] = name

    def drop_unused(self) -> None:
        """Remove stored values that nobody takes any more."""
        used = {name for node in self._graph.node for name in node.input} | {value.name for value in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
