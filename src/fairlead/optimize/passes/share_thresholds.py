"""Gives trees fewer and shorter thresholds: those that no row can tell apart become one. Lossy, for rows unlike these.

No row that the pass was given changes its way in any tree, where `levels` is 0; else each feature has at most so many thresholds, and rows
may go elsewhere. Nothing gets faster by it: files compress better, and splits that decide nothing any more are taken out. Refuses a model
without trees, and one whose thresholds would not take less room.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.cutting import without_idle_splits
from fairlead.optimize.trees.model import open_model, write_model
from fairlead.optimize.trees.observed import observe
from fairlead.optimize.trees.study import rows_of
from fairlead.optimize.trees.thresholds import distinct_count, shared_thresholds


def share_thresholds(job: PassJob) -> PassResult:
    """Write the model of `job.source` with shared thresholds."""
    levels = int(job.settings["levels"])
    if levels < 0:
        raise SpecError(f"'levels' is {levels}; it cannot be negative.", hint="0 moves thresholds only where no row tells.")
    model = open_model(job.source)
    rows, _ = rows_of(job)
    tables = [observe(model.graph_model, site, rows).table for site in model.sites]
    changed = [without_idle_splits(shared_thresholds(trees, table, levels)) for trees, table in zip(model.trees, tables, strict=True)]
    before, after = (sum(map(distinct_count, part)) for part in (model.trees, changed))
    if _room(changed) >= _room(model.trees):
        raise IdlePassError("No thresholds of the trees can be shared.", hint="Leave the pass 'share_thresholds' out for this model.")
    write_model(model, changed, job.destination)
    note = f"{before:,} thresholds became {after:,}, by {len(tables[0]):,} rows"
    return PassResult({"numpy": np.__version__}, {"thresholds_before": before, "thresholds_after": after}, (note,))


def _room(ensembles: Sequence[TreeEnsemble]) -> int:
    """Bytes that the thresholds take when they are compressed."""
    return sum(len(zlib.compress(trees.thresholds[trees.splits != Split.LEAF].tobytes(), 9)) for trees in ensembles)
