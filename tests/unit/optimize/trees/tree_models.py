"""Small models with trees for the tests of passes: drawn ones of every kind of node, and trained ones where a library is there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from fairlead.convert.trees.graph import build_model
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface
from fairlead.core.pass_use import parse_pass
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.optimize.catalog import complete_settings
from fairlead.optimize.job import PassJob

sys.path.append(str(Path(__file__).parents[2] / "engines"))
from drawn_trees import Shape, classifier, draw_rows, draw_trees, regressor

BY_ORDER = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)
NAN_ONLY = (Missing.NAN,)


@dataclass(frozen=True)
class Example:
    """A model on disk, its interface, rows with answers to learn from, and others to judge by."""

    path: Path
    interface: Interface
    rows: Dataset
    others: Dataset


def drawn(folder: Path, seed: int = 0, *, is_classifier: bool = True, **shape: Any) -> tuple[Path, TreeEnsemble, Interface]:
    """Write a drawn model and return its path, trees and interface."""
    outputs = shape.get("outputs", 1)
    transform = (Transform.SIGMOID if outputs == 1 else Transform.SOFTMAX) if is_classifier else Transform.IDENTITY
    trees = draw_trees(seed, Shape(**({"trees": 12, "depth": 5, "more": {"transform": transform}} | shape)))
    interface = classifier(trees) if is_classifier else regressor(trees)
    path = folder / "drawn.onnx"
    path.write_bytes(build_model(trees, interface).SerializeToString())
    return path, trees, interface


def boosted(folder: Path, *, outputs: int = 1, is_classifier: bool = True, trees: int = 60, count: int = 600) -> Example:
    """A booster that was grown here, by the pass's own means, on points in the plane: what it knows can be told from noise."""
    from fairlead.optimize.students.growing import Growth, grow
    from fairlead.optimize.trees.link import Function, Link
    from fairlead.optimize.trees.objective import Objective

    random = np.random.default_rng(1)
    table = random.normal(size=(2 * count, 4)).astype(np.float32)
    score = table[:, 0] * table[:, 1] + 0.5 * table[:, 2]
    if not is_classifier:
        target, wanted, function = score.astype(np.float64), score[:, np.newaxis].astype(np.float64), Function.NUMBER
    elif outputs == 1:
        target = (score > 0).astype(np.int64)
        wanted, function = target[:, np.newaxis].astype(np.float64), Function.SIGMOID
    else:
        target = np.digitize(score, np.linspace(-0.6, 0.6, outputs - 1))
        wanted, function = np.eye(outputs)[target], Function.SOFTMAX
    judging = np.arange(2 * count) >= count
    ensemble = grow(table, Objective(Link(function, 1.0, ""), wanted), judging, Growth(trees, 4, rate=0.3))
    transform = {Function.NUMBER: Transform.IDENTITY, Function.SIGMOID: Transform.SIGMOID, Function.SOFTMAX: Transform.SOFTMAX}[function]
    from dataclasses import replace

    ensemble = replace(ensemble, transform=transform)
    interface = classifier(ensemble) if is_classifier else regressor(ensemble)
    path = folder / "boosted.onnx"
    path.write_bytes(build_model(ensemble, interface).SerializeToString())
    fresh = random.normal(size=(count, 4)).astype(np.float32)
    fresh_score = fresh[:, 0] * fresh[:, 1] + 0.5 * fresh[:, 2]
    bins = np.zeros(1) if outputs == 1 else np.linspace(-0.6, 0.6, outputs - 1)
    fresh_target = np.digitize(fresh_score, bins) if is_classifier else fresh_score
    return Example(path, interface, Dataset({"x": table[:count]}, target[:count]), Dataset({"x": fresh}, fresh_target))


def job(source: Path, use: str, interface: Interface | None = None, rows: Dataset | None = None, **more: Any) -> PassJob:
    """Return the job of the pass that `use` names, with complete settings."""
    parsed = parse_pass(use)
    destination = source.with_name(f"after-{parsed.name}.onnx")
    given = {} if rows is None else {"rows": rows.inputs, "training": rows if rows.target is not None else None}
    return PassJob(source, destination, complete_settings(parsed), interface=interface, **(given | more))


def answers(path: Path, rows: np.ndarray, threads: int = 1) -> dict[str, np.ndarray]:
    """What ONNX Runtime answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: rows}), strict=True))


def accuracy(path: Path, rows: Dataset) -> float:
    """Share of right labels."""
    return float((answers(path, rows.inputs["x"])["label"] == rows.target).mean())


def bits(found: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in found.items()}


def surface(path: Path) -> list[bytes]:
    graph = onnx.load(path).graph
    return [value.SerializeToString(deterministic=True) for value in (*graph.input, *graph.output)]


__all__ = [
    "BY_ORDER",
    "NAN_ONLY",
    "DType",
    "Example",
    "Shape",
    "accuracy",
    "answers",
    "bits",
    "boosted",
    "draw_rows",
    "drawn",
    "job",
    "surface",
]
