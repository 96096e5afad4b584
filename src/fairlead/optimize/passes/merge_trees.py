"""Makes one tree of several that ask the same questions, or that all ask of one feature. Bounded: sums are added in another order.

Stumps become one balanced tree per feature; trees of one value go into others. Leaf values are added in double and rounded once, so that
answers differ as they do between two machines. Works in every place where a graph adds up trees. Refuses a model whose trees all differ.
"""

from __future__ import annotations

import numpy as np

from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.merging import merged_trees
from fairlead.optimize.trees.model import counted, open_model, write_model


def merge_trees(job: PassJob) -> PassResult:
    """Write the model of `job.source` with fewer trees of the same sums."""
    model = open_model(job.source)
    changed = [merged_trees(trees) for trees in model.trees]
    if all(after is before for before, after in zip(model.trees, changed, strict=True)):
        raise IdlePassError("No trees of the model can be one.", hint="Leave the pass 'merge_trees' out for this model.")
    write_model(model, changed, job.destination)
    return PassResult({"numpy": np.__version__}, {}, (counted(model.trees, changed),))
