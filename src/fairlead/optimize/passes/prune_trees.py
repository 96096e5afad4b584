"""Merges leaves of an ensemble into their parents, those first that matter least to what all trees answer together. Lossy.

`keep` is the share that is left: of the leaves (`aim=size`), or of the splits that a row passes on its way (`aim=speed`, measured on the
rows). Judged by the right answers of the training rows, or, without them, by the model's own answers to the calibration rows. With `refit`
the leaves that stay are fitted to the model's own answers to these rows and to mixtures of them. Leaves of forests stay probabilities.
Refuses a model without trees, with several ensembles, or whose answers are no known function of sums.
"""

from __future__ import annotations

import numpy as np

from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.cutting import without_idle_splits
from fairlead.optimize.trees.model import counted, write_model
from fairlead.optimize.trees.pruning import Budget, pruned
from fairlead.optimize.trees.shape import leaf_count
from fairlead.optimize.trees.study import fraction, refitted_to_model, study

_AIMS = ("size", "speed")


def prune_trees(job: PassJob) -> PassResult:
    """Write the model of `job.source` with a share `keep` of its leaves or of its paths."""
    keep, aim = fraction(job, "keep"), str(job.settings["aim"])
    if aim not in _AIMS:
        raise SpecError(f"'aim' is '{aim}', which is none of: {', '.join(_AIMS)}.", hint="For example aim=size.")
    known = study(job)
    trees = known.trees
    fewer = pruned(trees, known.observed.leaves, known.objective, Budget(keep, by_path=aim == "speed"))
    if job.settings["refit"]:
        fewer = refitted_to_model(known, fewer, job)
    fewer = without_idle_splits(fewer)
    if leaf_count(fewer) >= leaf_count(trees):
        raise IdlePassError("The trees have no leaves to merge.", hint="Leave the pass 'prune_trees' out for this model.")
    write_model(known.model, [fewer], job.destination)
    return PassResult({"numpy": np.__version__}, {}, (f"{counted([trees], [fewer])}; {known.rows_note}",))
