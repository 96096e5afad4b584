"""What a search is asked for, and which rows serve for what. Takes datasets, gives them divided; raises DataError where they overlap,
or show one class only, and UnsupportedError for a pass that does not exist.

Choosing the best of many models on some rows makes it look better on those rows than it is. So where there are enough, half of the rows
choose and the others give the verdict, which no choice has seen.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, DecisionKind, Interface, shorten
from fairlead.core.pass_use import PassUse
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.search import Objective
from fairlead.datasets.row_choice import check_apart, check_calibration, choose, set_apart
from fairlead.errors import DataError, UnsupportedError
from fairlead.optimize.catalog import PASSES, complete_settings

ENOUGH_ROWS = 400  # with fewer, half of them says too little
SELECTION_ROWS = 4000
CALIBRATION_ROWS = 512
_FAR = 10.0  # times as wide
_OBJECTIVES = {
    MetricKind.LATENCY: Objective.LATENCY,
    MetricKind.THROUGHPUT: Objective.LATENCY,
    MetricKind.SIZE: Objective.SIZE,
    MetricKind.MEMORY: Objective.MEMORY,
}


@dataclass(frozen=True)
class SearchOptions:
    """`passes` are those to choose from (all where there are none); settings that stand there are fixed. With `is_exact`, they are applied
    as they stand and nothing is searched. `objective` None: what the requirements name, else latency. `to_go_on` tells whoever interrupts
    the search how to go on.
    """

    budget_s: float = 600.0
    objective: Objective | None = None
    training: Dataset | None = field(default=None, repr=False)
    passes: tuple[PassUse, ...] = ()
    is_exact: bool = False
    is_resumed: bool = False
    allow_lossy: bool = False
    to_go_on: str = "Go on with --resume."

    def aim(self, requirements: tuple[Requirement, ...]) -> Objective:
        """What to have as little of as possible."""
        named = (_OBJECTIVES[item.kind] for item in requirements if item.kind in _OBJECTIVES)
        return self.objective or next(named, Objective.LATENCY)


@dataclass(frozen=True)
class Rows:
    """`selection` rows choose, `verdict` rows judge, `calibration` and `training` rows make. `notes` say which are which."""

    selection: Dataset = field(repr=False)
    verdict: Dataset = field(repr=False)
    calibration: Dataset | None = field(repr=False)
    training: Dataset | None = field(repr=False)
    notes: tuple[str, ...] = ()


def divide_rows(given: Dataset, training: Dataset | None, interface: Interface, seed: int) -> Rows:
    """Return which rows serve for what."""
    notes: list[str] = []
    _check_classes(given, interface, "rows")
    if training is not None:
        _check_classes(training, interface, "training rows")
        notes += check_apart(given, training)
        if training.target is None:
            notes.append("training rows have no right answers: passes learn from the original's alone")
        notes += _unlike(given, training)
    selection, verdict = given, given
    if given.is_synthetic:
        notes.append("rows were drawn: passes that lose something are not tried, since nothing would tell what they lose")
    elif given.rows >= ENOUGH_ROWS:
        selection, verdict = set_apart(given, interface, count=given.rows // 2, seed=seed)
        notes.append(f"{selection.rows} rows choose between the trials, the other {verdict.rows} give the verdict")
        selection = choose(selection, interface, count=SELECTION_ROWS, seed=seed)
    else:
        notes.append(
            f"the same {given.rows} rows choose and give the verdict: the best of many looks a little better on them than it is "
            f"(with {ENOUGH_ROWS} rows or more, half of them would be kept apart)"
        )
    source = selection if training is None else training
    calibration = None if given.is_synthetic and training is None else choose(source, interface, count=CALIBRATION_ROWS, seed=seed)
    if calibration is not None:
        notes += check_calibration(calibration, selection, interface)
        whose = "training" if training is not None else "selection"
        notes.append(f"ranges are measured on {calibration.rows} of the {whose} rows")
    return Rows(replace(selection, columns=given.columns), verdict, calibration, training, tuple(notes))


def _unlike(given: Dataset, training: Dataset) -> list[str]:
    """Name the inputs that spread far wider, or far less wide, in the training rows: one of the files may not be prepared as the model's
    own rows were, and then training says nothing, or diverges.
    """
    notes = []
    for name, tensor in given.inputs.items():
        if tensor.dtype.kind != "f" or given.is_synthetic:
            continue
        spreads = [_spread(values) for values in (tensor, training.inputs[name])]
        if min(spreads) > 0 and max(spreads) > _FAR * min(spreads):
            notes.append(
                f"'{shorten(name)}' spreads {spreads[1]:.3g} in the training rows and {spreads[0]:.3g} in the rows to prove with: "
                "are both prepared as the model was trained?"
            )
    return notes


def _spread(values: Array) -> float:
    known = values[np.isfinite(values)].astype(np.float64)
    return float(known.std()) if known.size else 0.0


def _check_classes(rows: Dataset, interface: Interface, called: str) -> None:
    """Rows of one class say nothing about the others: a model that always answers it would be the best."""
    rule = interface.decision
    if rows.target is None or rule is None or rule.kind is DecisionKind.VALUE or rows.rows < 2:
        return
    classes = set(rows.target.reshape(-1).tolist())
    if len(classes) == 1:
        raise DataError(
            f"All {rows.rows} {called} are of one class, {shorten(str(classes.pop()))}: they do not show what the others lose.",
            hint="Give rows of every class; a file that is sorted by class has to be shuffled before it is cut.",
        )


def check_passes(passes: tuple[PassUse, ...]) -> None:
    """Raise UnsupportedError for a pass that does not exist, SpecError for a setting that it does not have."""
    known = PASSES.names()
    for use in passes:
        if use.name not in known:
            near = difflib.get_close_matches(use.name, known, n=1)
            raise UnsupportedError(
                f"There is no pass '{shorten(use.name)}'.", hint=f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(known)}."
            )
        complete_settings(use)
