"""Canonical ONNX that is nothing but one tree ensemble -> that ensemble, for the compiled kernel.

Takes a BuildJob; gives core.tree_ensemble.TreeEnsemble whose outputs are those of `job.model`. Two ways. A graph that differs from the
converted booster's own in its trees alone (passes changed them) takes everything else from the booster. Any other graph is read from its
outputs' side: whatever lies between rows, sums and outputs has to be one of the few operators whose meaning is known here. Raises
UnsupportedError that names what is not; never guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from fairlead.convert.trees.columns import columns_of
from fairlead.core.artifact import ArtifactForm
from fairlead.core.conversion import BuildJob
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.core.tree_ensemble import Split, Transform, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import LABEL, PROBABILITIES
from fairlead.engines.tree_sites import Site, find_sites
from fairlead.engines.tree_vectors import with_vector_leaves
from fairlead.errors import UnsupportedError

_REAL = {TensorProto.FLOAT, TensorProto.DOUBLE}


@dataclass(frozen=True)
class _Value:
    """What a value of the graph is: `kind` one of sums, values, rest (1 - value), pairs, above, index, label."""

    kind: str
    transform: Transform = Transform.IDENTITY
    divisor: float = 1.0
    is_by_sum: bool = False
    is_flat: bool = False
    labels: tuple[object, ...] = ()


def ensemble_of(job: BuildJob) -> TreeEnsemble:
    """Return the ensemble that `job.model` is; raises UnsupportedError where it is another model."""
    model = onnx.load_model(job.model)
    sites = find_sites(model)
    if len(sites) != 1:
        raise _other(f"it adds up trees in {len(sites)} places")
    if job.artifact.form is ArtifactForm.TREE_ENSEMBLE and _is_same_but_for_trees(model, onnx.load_model(job.conversion.path)):
        trees = _with_booster(with_vector_leaves(sites[0].trees), read_tree_ensemble(job.artifact.path))
    else:
        trees = _read(model, sites[0], job.conversion.interface)
    trees.check()
    return trees


def read_ensemble(path: Path, interface: Interface) -> TreeEnsemble:
    """Return the ensemble that a canonical ONNX file of ours is, read from its graph alone, for who asks for its sums: what is decided at a
    sum of exactly zero may be the other class. Raises UnsupportedError as above.
    """
    model = onnx.load_model(path)
    for node in model.graph.node:
        if node.op_type == "GreaterOrEqual":  # scikit-learn's boosting of two classes
            node.op_type = "Greater"
    sites = find_sites(model)
    if len(sites) != 1:
        raise _other(f"it adds up trees in {len(sites)} places")
    trees = _read(model, sites[0], interface)
    trees.check()
    return trees


def _other(reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"The form 'trees' holds one tree ensemble and nothing else; in this model {reason}.", hint="Run it as ONNX: --to onnx."
    )


def _is_same_but_for_trees(model: Any, original: Any) -> bool:
    def rest(graph: Any) -> list[bytes]:
        nodes = [node for node in graph.node if node.op_type != "TreeEnsemble"]
        return sorted(part.SerializeToString(deterministic=True) for part in (*nodes, *graph.initializer, *graph.input, *graph.output))

    return len(find_sites(original)) == 1 and rest(model.graph) == rest(original.graph)


def _with_booster(trees: TreeEnsemble, booster: TreeEnsemble) -> TreeEnsemble:
    """Give trees that were read from the booster's own graph the meaning of its columns, and what becomes of sums."""
    columns = columns_of(booster)
    inner = trees.splits != Split.LEAF
    is_asking = inner & ~_is_constant_root(trees)
    if (trees.features[is_asking] >= len(columns.features)).any():
        raise _other("a split asks for a column that the booster does not have")
    place = np.where(is_asking, trees.features, 0)
    values = trees.leaf_values
    if booster.is_averaged:  # the graph divides by how many trees there were
        values = values / _divisors(booster, trees)[:, np.newaxis]
    return replace(
        trees,
        feature_count=booster.feature_count,
        output_count=booster.output_count,
        features=np.where(is_asking, columns.features[place], 0).astype(np.int32) if len(columns.features) else trees.features,
        missing=np.where(is_asking, columns.missing[place], 0).astype(np.uint8) if len(columns.features) else trees.missing,
        leaf_values=values.astype(booster.sum_dtype.numpy).astype(np.float64),
        compare_dtype=booster.compare_dtype,
        sum_dtype=booster.sum_dtype,
        transform=booster.transform,
        scale=booster.scale,
        is_averaged=False,
        is_decided_by_sum=booster.is_decided_by_sum,
        feature_names=booster.feature_names,
    )


def _divisors(booster: TreeEnsemble, trees: TreeEnsemble) -> Array:
    """Return, by node of `trees`, what the booster's graph divides the output by that the node's tree adds to."""
    order, tree = depth_first(trees)
    counts = np.maximum(np.bincount(booster.groups, minlength=booster.output_count), 1)
    divisors = np.full(trees.node_count, float(booster.tree_count))
    if booster.leaf_values.shape[1] == 1:
        divisors[order] = counts[trees.groups[tree]]
    return divisors


def _is_constant_root(trees: TreeEnsemble) -> Array:
    """Whether a node is the split above a tree of one value, which asks for nothing: its column means nothing either."""
    is_leaf = trees.splits == Split.LEAF
    same = is_leaf[trees.left] & is_leaf[trees.right] & (trees.leaf_values[trees.left] == trees.leaf_values[trees.right]).all(axis=1)
    return np.asarray(~is_leaf & same)


def _read(model: Any, site: Site, interface: Interface) -> TreeEnsemble:
    graph = model.graph
    if len(interface.inputs) != 1 or len(interface.inputs[0].shape) != 2:
        raise _other("rows are more than one table")
    _check_rows(graph, site, interface.inputs[0])
    known = _named_values(graph, site)
    shown = {spec.name: known.get(spec.name) for spec in interface.outputs}
    found = [value for value in shown.values() if value is not None]
    if len(found) != len(shown):
        raise _other(f"the output '{next(name for name, value in shown.items() if value is None)}' comes from its sums in another way")
    plain = [value for value in found if value.kind != "label"]
    transforms = {value.transform for value in plain}
    if len(transforms) > 1 or len({value.divisor for value in found}) > 1:
        raise _other("outputs show sums before and after a transform")
    transform = transforms.pop() if transforms else Transform.IDENTITY
    for spec in interface.outputs:
        _check_output(spec, shown[spec.name], site.trees, interface)
    divisor = found[0].divisor
    return _divided(site.trees, divisor, transform, interface, is_by_sum=any(value.is_by_sum for value in found))


def _divided(trees: TreeEnsemble, divisor: float, transform: Transform, interface: Interface, *, is_by_sum: bool) -> TreeEnsemble:
    is_averaged = divisor != 1 and divisor == trees.tree_count and trees.leaf_values.shape[1] == trees.output_count
    values = trees.leaf_values if is_averaged else (trees.leaf_values / divisor).astype(trees.sum_dtype.numpy).astype(np.float64)
    if trees.is_averaged:
        raise _other("the operator divides by itself")
    return replace(
        trees,
        feature_count=int(interface.inputs[0].shape[1] or 0),
        leaf_values=values,
        is_averaged=is_averaged,
        transform=transform,
        is_decided_by_sum=is_by_sum and transform is not Transform.IDENTITY,
    )


def _check_rows(graph: Any, site: Site, spec: TensorSpec) -> None:
    """Between the input and the trees numbers may only be rounded, and to no coarser type than the trees compare in."""
    makers = {name: node for node in graph.node for name in node.output}
    name = site.rows
    while name != spec.name:
        node = makers.get(name)
        if node is None or node.op_type not in ("Identity", "Cast"):
            raise _other("rows are prepared before the trees see them")
        if node.op_type == "Cast" and _to(node) not in _REAL:
            raise _other("rows are prepared before the trees see them")
        if node.op_type == "Cast" and _to(node) == TensorProto.FLOAT and site.trees.compare_dtype is DType.FP64:
            raise _other("rows are rounded before they are compared in double")
        name = node.input[0]


def _to(node: Any) -> int:
    return next(int(item.i) for item in node.attribute if item.name == "to")


def _named_values(graph: Any, site: Site) -> dict[str, _Value]:
    """Return what is known of the values behind the sums, in the order of the graph."""
    known = {site.sums: _Value("sums")}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        given = [known.get(name) for name in node.input]
        if any(given):
            value = _value_of(node, given, [constants.get(name) for name in node.input], site.trees)
            if value is not None:
                known[node.output[0]] = value
    return known


def _value_of(node: Any, given: list[_Value | None], constants: list[Array | None], trees: TreeEnsemble) -> _Value | None:
    """Return what the node makes of known values; None for what has no meaning here."""
    first, kind = given[0], node.op_type
    numbers = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if kind == "Identity" or (kind == "Cast" and first is not None and numbers["to"] in _REAL and first.kind not in ("above", "index")):
        return first
    if kind == "Concat" and len(given) == 2 and numbers["axis"] == 1 and first is not None and given[1] is not None:
        return replace(given[1], kind="pairs") if (first.kind, given[1].kind) == ("rest", "values") else None
    if kind == "Sub" and given[1] is not None and given[1].kind == "values" and _is(constants[0], 1.0):
        return replace(given[1], kind="rest")
    if kind == "Gather" and given[1] is not None and given[1].kind == "index" and constants[0] is not None and constants[0].ndim == 1:
        return replace(given[1], kind="label", labels=tuple(constants[0].tolist()))
    if first is None:
        return None
    other = constants[1] if len(constants) > 1 else None
    if kind == "Div" and first.kind == "sums" and first.divisor == 1 and other is not None and len(np.unique(other)) == 1:
        return replace(first, divisor=float(other.reshape(-1)[0]))
    if kind == "Sigmoid" and first.kind == "sums" and trees.output_count == 1:
        return replace(first, kind="values", transform=Transform.SIGMOID)
    if kind == "Softmax" and first.kind == "sums" and trees.output_count > 1 and numbers.get("axis", -1) in (1, -1):
        return replace(first, kind="values", transform=Transform.SOFTMAX)
    return _decided(kind, first, other, numbers, trees)


def _decided(kind: str, first: _Value, other: Array | None, numbers: dict[str, Any], trees: TreeEnsemble) -> _Value | None:
    is_single = trees.output_count == 1
    if kind == "ArgMax" and not is_single and first.kind in ("sums", "values"):
        fits = numbers.get("axis", 0) == 1 and numbers.get("keepdims", 1) == 0 and not numbers.get("select_last_index", 0)
        return replace(first, kind="index", is_by_sum=first.kind == "sums") if fits else None
    if kind == "Squeeze" and is_single and _is(other, 1.0):
        return replace(first, is_flat=True)
    if kind == "Greater" and is_single and first.kind == "sums" and first.divisor == 1 and _is(other, 0.0):
        return replace(first, kind="above", is_by_sum=True)
    if kind == "Greater" and is_single and first.kind == "values" and first.transform is Transform.SIGMOID and _is(other, 0.5):
        return replace(first, kind="above")
    if kind == "Cast" and first.kind == "above" and numbers["to"] == TensorProto.INT64:
        return replace(first, kind="index")
    return None


def _is(constant: Array | None, number: float) -> bool:
    return constant is not None and constant.size == 1 and float(constant.reshape(-1)[0]) == number


def _check_output(spec: TensorSpec, value: _Value | None, trees: TreeEnsemble, interface: Interface) -> None:
    """Raise UnsupportedError unless the kernel gives the output from the same values."""
    kind = "" if value is None else value.kind
    if spec.name == LABEL:
        labels = [item.decode() if isinstance(item, bytes) else item for item in (value.labels if value is not None else ())]
        wanted = list(interface.labels) or list(range(max(trees.output_count, 2)))
        is_right = kind == "label" and [str(item) for item in labels] == [str(item) for item in wanted]
        is_right = is_right and (trees.output_count > 1 or (value is not None and value.is_flat))
    elif spec.name == PROBABILITIES and trees.output_count == 1:
        is_right = kind == "pairs"
    else:
        is_right = kind in ("sums", "values") and not (value is not None and value.is_flat)
    if not is_right:
        raise _other(f"the output '{spec.name}' comes from its sums in another way")
