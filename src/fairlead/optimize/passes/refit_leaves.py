"""Fits the leaf values of all trees anew, together, to the right answers of the training rows. Lossy: answers change.

Meant behind prune_trees and shorten_ensemble. `ridge` is how many rows of no news each leaf counts: more keeps nearer to the values that
were. A fifth of the rows only judges; where refitting does not lower their loss, the pass refuses. Give rows that the trees were not
trained on: those that they know by heart teach them nothing but to be too sure. Structure and thresholds stay.
"""

from __future__ import annotations

import numpy as np

from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.model import write_model
from fairlead.optimize.trees.refitting import Limits, Rows, refitted
from fairlead.optimize.trees.study import study


def refit_leaves(job: PassJob) -> PassResult:
    """Write the model of `job.source` with leaf values of least loss."""
    ridge = float(job.settings["ridge"])
    if not 0 <= ridge < float("inf"):
        raise SpecError(f"'ridge' is {ridge:g}; it cannot be negative.", hint="For example ridge=1.")
    known = study(job)
    leaves = known.observed.leaves
    fitted, judging = (Rows(leaves[rows], known.objective.only(rows)) for rows in (known.fitted, known.held_out))
    trees, before, after = refitted(known.trees, fitted, judging, Limits(ridge, job.time_s))
    if trees is known.trees:
        raise IdlePassError("Refitting the leaves does not lower the loss on rows that only judge.", hint="Leave 'refit_leaves' out.")
    write_model(known.model, [trees], job.destination)
    note = f"loss on {len(known.held_out):,} judging rows: {before:.5g} before, {after:.5g} after; {known.rows_note}"
    return PassResult({"numpy": np.__version__}, {"loss_before": before, "loss_after": after}, (note,))
