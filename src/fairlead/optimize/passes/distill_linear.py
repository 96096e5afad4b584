"""Replaces a model by a linear student that learned the model's own answers: one product and a sigmoid or softmax. Lossy.

Works for every model whose inputs are numbers of a fixed count per row, trees and networks alike; inputs, outputs and labels stay. It
learns from the training rows (their right answers are not needed) and, with `mixed`, from mixtures of them; `ridge` holds weights small.
Refuses text, rows of no fixed size, missing values, and outputs that are more than one answer and its label.
"""

from __future__ import annotations

import time

import numpy as np

from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import write
from fairlead.optimize.students.lesson import check_smaller, lesson_of
from fairlead.optimize.students.linear import fit_linear
from fairlead.optimize.students.surface import StudentGraph


def distill_linear(job: PassJob) -> PassResult:
    """Write a linear student of the model of `job.source`."""
    ridge = float(job.settings["ridge"])
    if not 0 <= ridge < float("inf"):
        raise SpecError(f"'ridge' is {ridge:g}; it cannot be negative.", hint="For example ridge=0.001.")
    deadline = time.monotonic() + job.time_s if job.time_s else float("inf")
    lesson = lesson_of(job)
    if not np.isfinite(lesson.table).all():
        raise UnsupportedError("The rows have missing or infinite values, which a linear student cannot take.", hint="Try distill_trees.")
    fitted = ~lesson.is_judging
    weights, bias = fit_linear(lesson.table[fitted], lesson.objective.only(fitted), ridge, deadline)
    judged = lesson.objective.only(lesson.is_judging).loss(lesson.table[lesson.is_judging].astype(np.float64) @ weights + bias)
    graph = StudentGraph(lesson.surface)
    features = graph.features()
    sums = graph.add("Gemm", [features, graph.constant(weights.astype(np.float32)), graph.constant(bias.astype(np.float32))])
    write(graph.finished(sums, "linear student"), job.destination)
    check_smaller(job)
    note = f"a linear student of {weights.size + bias.size:,} numbers, from {len(lesson.table):,} rows ({lesson.real_count:,} real)"
    loss = f"loss against the model's own answers on judging rows: {judged:.5g}"
    return PassResult({"numpy": np.__version__}, {"loss": judged}, (f"{note}; {loss}",))
