"""Replaces a model by a few small trees that learned the model's own answers. Lossy.

Works for every model whose inputs are numbers of a fixed count per row, trees and networks alike; inputs, outputs and labels stay. One tree
serves all classes of a round. It learns from the training rows (their right answers are not needed) and, with `mixed`, from mixtures of
them; rounds that do not help on judging rows are left out. Missing values go right at every split. Refuses text, rows of no fixed size, and
outputs that are more than one answer and its label.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from onnx import helper

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_attributes import legacy_attributes, modern_attributes
from fairlead.engines.tree_operator import DOMAIN
from fairlead.errors import SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import write
from fairlead.optimize.students.growing import Growth, grow
from fairlead.optimize.students.lesson import Lesson, check_smaller, lesson_of
from fairlead.optimize.students.surface import StudentGraph
from fairlead.optimize.trees.link import Function
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.shape import leaf_count, with_values
from fairlead.optimize.trees.walk import reached, sums_from


def distill_trees(job: PassJob) -> PassResult:
    """Write a student of `trees` trees of `depth` levels of the model of `job.source`."""
    count, depth = int(job.settings["trees"]), int(job.settings["depth"])
    if not 1 <= count <= 10_000 or not 1 <= depth <= 12:
        raise SpecError("A student has 1 to 10,000 trees of 1 to 12 levels.", hint="For example trees=50,depth=4.")
    deadline = time.monotonic() + job.time_s if job.time_s else float("inf")
    lesson = lesson_of(job)
    centre, spread = _scale(lesson)
    objective = Objective(lesson.objective.link, (lesson.objective.wanted - centre) / spread)
    trees = grow(lesson.table, objective, lesson.is_judging, Growth(count, depth, rate=_rate(count), deadline=deadline))
    values = trees.leaf_values * spread
    values[: trees.roots[1] if trees.tree_count > 1 else trees.node_count] += centre
    trees = with_values(trees, values)
    leaves = reached(trees, lesson.table[lesson.is_judging])
    judged = lesson.objective.only(lesson.is_judging).loss(sums_from(trees, leaves))
    graph = StudentGraph(lesson.surface)
    features = graph.features()
    node, opset = _node(trees, features)
    graph.nodes.append(node)
    write(graph.finished(node.output[0], "student of trees", opset), job.destination)
    check_smaller(job)
    note = f"{trees.tree_count} trees of {leaf_count(trees):,} leaves, from {len(lesson.table):,} rows ({lesson.real_count:,} real)"
    loss = f"loss against the model's own answers on judging rows: {judged:.5g}"
    return PassResult({"numpy": np.__version__}, {"loss": judged}, (f"{note}; {loss}",))


def _node(trees: TreeEnsemble, features: str) -> tuple[Any, int]:
    """Return the node that makes the sums, and the operator set that it is of: the newer one takes less room for leaves of one value."""
    names = [features], ["student_sums"]
    if trees.output_count == 1:
        attributes = modern_attributes(trees) | {"n_targets": 1, "aggregate_function": 1, "post_transform": 0}
        return helper.make_node("TreeEnsemble", *names, domain=DOMAIN, **attributes), 5
    attributes = legacy_attributes(trees, "target") | {"n_targets": trees.output_count}
    return helper.make_node("TreeEnsembleRegressor", *names, domain=DOMAIN, **attributes), 3


def _rate(count: int) -> float:
    """Fewer trees have to go further each."""
    return min(0.5, max(0.1, 8 / count))


def _scale(lesson: Lesson) -> tuple[Array, Array]:
    """Numbers are taught with mean 0 and spread 1, so that the ridge means the same for all."""
    wanted = lesson.objective.wanted
    if lesson.objective.link.function is not Function.NUMBER:
        return np.zeros(wanted.shape[1]), np.ones(wanted.shape[1])
    spread = wanted.std(axis=0)
    return wanted.mean(axis=0), np.where(spread > 0, spread, 1.0)
