"""What a site's trees see and what the model makes of their sums, on rows.

Takes a model with a site and rows by input name; gives the table that the trees are given, the leaf that each row reaches, and the model's
own answers. Raises UnsupportedError where our walk through the trees does not add up to what ONNX Runtime gives: then no pass may reason
about them. Runs our own converted ONNX only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.interface import Array, Tensors, shorten
from fairlead.engines.tree_sites import Site
from fairlead.errors import UnsupportedError
from fairlead.optimize.trees.walk import reached, sums_from

_PIECE_ROWS = 4096
_CLOSE = 1e-4  # relative to the largest sum: single precision over a thousand trees
_ERRORS = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidArgument, ort_errors.NotImplemented, ort_errors.RuntimeException)


@dataclass(frozen=True)
class Observed:
    """`table` (rows, features) is what the trees compare, `leaves` (rows, trees) where each row ends, `sums` doubles (rows, outputs)."""

    table: Array = field(repr=False)
    leaves: Array = field(repr=False)
    sums: Array = field(repr=False)
    answers: Tensors = field(repr=False)


def observe(model: Any, site: Site, rows: Tensors) -> Observed:
    """Return what the site's trees do on `rows`, which are as the model's inputs take them."""
    names = [value.name for value in model.graph.output]
    is_classifier = site.node.op_type == "TreeEnsembleClassifier"
    shown = [site.rows] if is_classifier else [site.rows, site.sums]
    answers = run(model, rows, [*names, *shown])
    table = answers[site.rows]
    leaves = reached(site.trees, table)
    sums = sums_from(site.trees, leaves)
    if not is_classifier:
        given = answers[site.sums].reshape(sums.shape)
        if not np.allclose(sums, given, rtol=0, atol=_CLOSE * max(float(np.abs(given).max(initial=0)), 1e-6)):
            raise UnsupportedError("The trees of the graph add up otherwise than they read.", hint="Please report this model.")
    return Observed(table, leaves, sums, {name: answers[name] for name in names})


def run(model: Any, rows: Tensors, names: Sequence[str]) -> dict[str, Array]:
    """Return values of the graph by name, its inputs among them, for `rows`."""
    given = {value.name for value in model.graph.input}
    ends = {value.name for value in model.graph.output}
    wanted = [name for name in dict.fromkeys(names) if name not in given]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in ends)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        taken = {item.name for item in session.get_inputs()}
        feeds = {name: tensor for name, tensor in rows.items() if name in taken}
        count = min(len(tensor) for tensor in feeds.values())
        pieces = [
            session.run(wanted, {name: tensor[start : start + _PIECE_ROWS] for name, tensor in feeds.items()})
            for start in range(0, count, _PIECE_ROWS)
        ]
    except (*_ERRORS, ValueError) as error:
        raise UnsupportedError(f"The model cannot be run on the rows: {shorten(str(error), 200)}.") from None
    found = {name: np.concatenate([np.asarray(piece[place]) for piece in pieces]) for place, name in enumerate(wanted)}
    return found | {name: np.asarray(rows[name]) for name in names if name in given}
