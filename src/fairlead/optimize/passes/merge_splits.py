"""Takes splits out of trees that decide nothing: subtrees whose two sides are equal, and ways that no row can take. Exact.

A way cannot be taken where splits above it on the same feature have decided already. Every row ends with the same bits in every tree, NaN
and infinities included. Works in every place where a graph adds up trees. Refuses a model without trees, and one in which nothing is idle.
"""

from __future__ import annotations

import numpy as np

from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.cutting import without_idle_splits
from fairlead.optimize.trees.model import counted, open_model, write_model


def merge_splits(job: PassJob) -> PassResult:
    """Write the model of `job.source` without idle splits."""
    model = open_model(job.source)
    changed = [without_idle_splits(trees) for trees in model.trees]
    if all(after is before for before, after in zip(model.trees, changed, strict=True)):
        raise IdlePassError("Every split of the trees decides something.", hint="Leave the pass 'merge_splits' out for this model.")
    write_model(model, changed, job.destination)
    return PassResult({"numpy": np.__version__}, {}, (counted(model.trees, changed),))
