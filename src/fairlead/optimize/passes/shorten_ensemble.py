"""Keeps a share of the trees: the first ones, or the ones that together come nearest to all, whichever loses less. Lossy.

`keep` is the share of the trees of every output. Both choices are judged on a fifth of the rows that took no part in choosing: by right
answers where there are training rows, else by the model's own. Trees that stay are weighted, so that sums keep their size; with `refit`
their leaves are fitted to the model's own answers to these rows and to mixtures of them. Refuses a model without trees, with several
ensembles, or whose answers are no known function of sums.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.pass_use import Setting
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.link import Function
from fairlead.optimize.trees.model import counted, write_model
from fairlead.optimize.trees.shortening import best_trees, first_trees, scaled_to_mean, shortened
from fairlead.optimize.trees.study import Study, fraction, refitted_to_model, study
from fairlead.optimize.trees.walk import reached, sums_from


def shorten_ensemble(job: PassJob) -> PassResult:
    """Write the model of `job.source` with a share `keep` of its trees."""
    keep = fraction(job, "keep")
    known = study(job)
    candidates = _candidates(known, keep, job.seed)
    before = known.objective.only(known.held_out).loss(known.observed.sums[known.held_out])
    losses = {name: _loss(known, trees) for name, trees in candidates.items()}
    name = min(losses, key=lambda item: losses[item])
    trees = candidates[name]
    if trees.tree_count >= known.trees.tree_count:
        raise IdlePassError("The ensemble has too few trees to leave any out.", hint="Leave the pass 'shorten_ensemble' out.")
    if job.settings["refit"]:
        trees = refitted_to_model(known, trees, job)
    write_model(known.model, [trees], job.destination)
    parameters: dict[str, Setting] = {"chosen": name, "loss_before": before, "loss_after": losses[name]}
    judged = f"loss on {len(known.held_out):,} judging rows: {before:.5g} before, {losses[name]:.5g} after"
    note = f"{counted([known.trees], [trees])}, {name}; {judged}; {known.rows_note}"
    return PassResult({"numpy": np.__version__}, parameters, (note,))


def _candidates(known: Study, keep: float, seed: int) -> dict[str, TreeEnsemble]:
    trees, leaves, objective = known.trees, known.observed.leaves[known.fitted], known.objective.only(known.fitted)
    wide_leaves, wide_objective = leaves, objective
    if objective.link.function is not Function.SHARES:
        table, wide_objective = known.own_rows(seed)
        wide_leaves = reached(trees, table)
    first = first_trees(trees, keep)
    if objective.link.function is Function.SHARES or objective.link.scale * trees.tree_count < 2:  # a mean
        first = scaled_to_mean(trees, first)
    choices = {"the first": first, "the best": best_trees(trees, wide_leaves, wide_objective, keep)}
    return {name: shortened(trees, leaves, objective, choice) for name, choice in choices.items()}


def _loss(known: Study, trees: TreeEnsemble) -> float:
    leaves = reached(trees, known.observed.table[known.held_out])
    return known.objective.only(known.held_out).loss(sums_from(trees, leaves))
