"""What a lossy pass over trees reasons about: one site, what its trees do on rows, and what the sums should be.

Takes a PassJob; gives a Study: by the right answers of the training rows where there are any, else by the model's own answers to the
calibration rows. Raises UnsupportedError where there are no rows, several sites, or answers that are no known function of the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.job import PassJob
from fairlead.optimize.trees.link import find_link
from fairlead.optimize.trees.mixing import mixed_rows
from fairlead.optimize.trees.model import TreeModel, only_site, open_model
from fairlead.optimize.trees.objective import Objective, from_answers, from_model
from fairlead.optimize.trees.observed import Observed, observe
from fairlead.optimize.trees.refitting import Limits, Rows, refitted
from fairlead.optimize.trees.walk import reached, sums_from

ROW_LIMIT = 20_000
_COPIES = 3
_HELD_OUT = 5  # every fifth row judges


@dataclass(frozen=True)
class Study:
    """`held_out` are the rows that choices are judged on, `fitted` the others; both are numbers of rows."""

    model: TreeModel
    trees: TreeEnsemble
    observed: Observed
    objective: Objective
    fitted: Array
    held_out: Array
    has_answers: bool

    def own_rows(self, seed: int) -> tuple[Array, Objective]:
        """Return rows as the trees see them, real and mixed, and the objective to answer them as the model does."""
        table = self.observed.table
        copies = min(_COPIES, max(ROW_LIMIT // len(table) - 1, 0))
        mixed = mixed_rows(table, copies, seed)
        sums = sums_from(self.trees, reached(self.trees, mixed)) if copies else self.observed.sums[:0]
        return np.concatenate([table, mixed]), from_model(self.objective.link, np.concatenate([self.observed.sums, sums]))

    @property
    def rows_note(self) -> str:
        """Say what was looked at."""
        count = len(self.observed.table)
        judged = "their right answers" if self.has_answers else "the model's own answers"
        return f"judged by {judged} on {count:,} rows"


def study(job: PassJob) -> Study:
    """Return the study of the model of `job.source`."""
    model = open_model(job.source)
    site = only_site(model)
    rows, target = rows_of(job)
    observed = observe(model.graph_model, site, rows)
    link = find_link(observed.sums, observed.answers)
    if link is None:
        raise UnsupportedError(
            "The model's answers are no function of its trees' sums that is known here.", hint="Use the passes that keep every answer."
        )
    count, outputs = observed.sums.shape
    labels = () if job.interface is None else job.interface.labels
    objective = from_model(link, observed.sums) if target is None else from_answers(link, target, labels, outputs)
    order = np.random.default_rng(job.seed).permutation(count)
    held_out = np.sort(order[: count // _HELD_OUT])
    return Study(model, site.trees, observed, objective, np.setdiff1d(np.arange(count), held_out), held_out, target is not None)


def rows_of(job: PassJob) -> tuple[Tensors, Array | None]:
    """Return rows to reason about, drawn evenly where there are too many, and their right answers where those are known."""
    if job.training is not None:
        tensors, target = job.training.inputs, job.training.target
    else:
        tensors, target = job.rows or {}, None
    count = min((len(tensor) for tensor in tensors.values()), default=0)
    if count < 2 * _HELD_OUT:
        raise UnsupportedError(f"{count} rows are too few to judge trees by.", hint="Give data with the model: --data or --train.")
    if count <= ROW_LIMIT:
        return tensors, target
    chosen = np.sort(np.random.default_rng(job.seed).choice(count, ROW_LIMIT, replace=False))
    return {name: tensor[chosen] for name, tensor in tensors.items()}, None if target is None else np.asarray(target)[chosen]


def refitted_to_model(known: Study, trees: TreeEnsemble, job: PassJob) -> TreeEnsemble:
    """Return `trees`, made from those of the study, with leaf values by which they answer more as the model does."""
    table, objective = known.own_rows(job.seed)
    leaves = reached(trees, table)
    is_judging = np.arange(len(table)) % _HELD_OUT == 0
    fitted, judging = (Rows(leaves[rows], objective.only(rows)) for rows in (~is_judging, is_judging))
    return refitted(trees, fitted, judging, Limits(time_s=job.time_s))[0]


def fraction(job: PassJob, name: str) -> float:
    """Return the setting called `name`; raises SpecError unless it lies between 0 and 1, both excluded."""
    value = float(job.settings[name])
    if not 0 < value < 1:
        raise SpecError(f"'{name}' is {value:g}; it has to lie between 0 and 1.", hint=f"For example {name}=0.5.")
    return value
