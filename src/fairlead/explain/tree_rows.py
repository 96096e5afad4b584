"""Explanations of a model that is a tree ensemble and nothing else: exact, for all rows at once.

Takes an ExplainJob, its trees, and what the engine answered; gives core Explanations of the sums that answers come from. Raises
CorruptError where the trees do not give what the engine gives, DeadlineError between pieces of work. A model with one sum for two classes
is explained by that sum, which speaks for the second class.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairlead.core.explanation import Explanation, Method, Subject
from fairlead.core.interface import Array, Interface, Label, Tensors, shorten
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_outputs import transformed
from fairlead.errors import CorruptError, RequestError
from fairlead.explain.explain_job import ExplainJob
from fairlead.explain.hiding import told
from fairlead.explain.shapley import too_short
from fairlead.explain.subject import scores_name, subjects
from fairlead.explain.tree_shapley import TreeShapley, tree_shapley

_SAME = 1e-4  # largest difference of trees and engine, relative above 1


def explain_by_trees(job: ExplainJob, trees: TreeEnsemble, outputs: Tensors, decisions: list[Label | None]) -> tuple[Explanation, ...]:
    """Return an explanation of each row."""
    interface = job.engine.interface
    began = job.clock()

    def check() -> None:
        if job.clock() - began > job.budget_s:
            raise too_short(job.budget_s)

    name = interface.inputs[0].name
    rows, background = job.rows[name], job.background[name]
    found = tree_shapley(trees, rows, background, check=check)
    _check_same(trees, interface, outputs, found.sums)
    wanted = [_subject(trees, one) for one in _subjects(trees, interface, outputs, job.of)]
    seconds = (job.clock() - began) / len(rows)
    names = _names(trees, interface)
    return tuple(
        _told(found, place, subject, decision, names, rows[place], len(background), seconds)
        for place, (subject, decision) in enumerate(zip(wanted, decisions, strict=True))
    )


def _told(
    found: TreeShapley, place: int, subject: Subject, decision: Label | None, names: tuple[str, ...], row: Array, count: int, seconds: float
) -> Explanation:
    column = min(subject.column, found.base.shape[0] - 1)  # one sum speaks for the second of two classes
    return Explanation(
        row=place,
        decision=decision,
        subject=subject,
        method=Method.TREES,
        features=names,
        given=tuple(told(value) for value in row),
        weights=tuple(found.weights[place, :, column].tolist()),
        bounds=(0.0,) * len(names),
        base=float(found.base[column]),
        output=float(found.sums[place, column]),
        background_count=count,
        asked_rows=1,
        seconds=seconds,
    )


def _names(trees: TreeEnsemble, interface: Interface) -> tuple[str, ...]:
    spec = interface.inputs[0]
    return spec.columns or trees.feature_names or tuple(f"{spec.name}[{place}]" for place in range(trees.feature_count))


def _subjects(trees: TreeEnsemble, interface: Interface, outputs: Tensors, of: str | None) -> tuple[Subject, ...]:
    """Return what is explained of each row; of two classes with one sum, the second."""
    name = scores_name(interface)
    if trees.output_count > 1 or outputs[name].ndim < 2 or outputs[name].shape[1] != 2:
        return subjects(interface, outputs, of)
    second = str(interface.labels[1]) if len(interface.labels) == 2 else "1"
    if of not in (None, second):
        raise RequestError(f"The trees' sum speaks for class '{shorten(second)}'.", hint=f"Explain it for that class: --of {second}.")
    return subjects(interface, outputs, second)


def _subject(trees: TreeEnsemble, subject: Subject) -> Subject:
    if trees.transform is Transform.IDENTITY:
        return subject
    says = f"the sum before the {trees.transform.value}, for {subject.says}"
    return replace(subject, says=shorten(says, 200), is_sum=True)


def _check_same(trees: TreeEnsemble, interface: Interface, outputs: Tensors, sums: Array) -> None:
    """Raise CorruptError unless the sums become the engine's answers."""
    table = np.asarray(outputs[scores_name(interface)], dtype=np.float64).reshape(len(sums), -1)
    values = transformed(trees, sums.astype(trees.sum_dtype.numpy)).astype(np.float64)
    if table.shape[1] == 2 and values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    if table.shape != values.shape or (np.abs(values - table) > _SAME * np.maximum(np.abs(table), 1.0)).any():
        raise CorruptError(
            "The trees of this version do not give the answers that its engine gives.", hint="Explain it by sampling: --method sampled."
        )
