"""Takes whole filters, neurons and recurrent cells out of a network, and trains what is left. Lossy; smaller and faster everywhere.

Units are found through the whole graph: a filter goes from every layer that sees it, through additions, joins, depthwise convolutions,
normalization and flattening. The least important go first, in rounds with training in between. Inputs, outputs and the width that
normalization runs over stay. Refuses models without such units, and models that training does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.course import Course, begin, count, fraction
from fairlead.optimize.training.cutting import cut
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.importance import group_lasso, group_norms, taylor
from fairlead.optimize.training.narrowing import Narrow, narrowable, narrowed, narrower, shown

_ROUND_RATIO = 0.5  # of the units may go in one round
_BETWEEN = 0.25  # of the epochs, between two rounds
_KINDS = ("taylor", "norm")


def prune_structured(job: PassJob) -> PassResult:
    """Write the model of `job` without `ratio` of its units; raises UnsupportedError where it has none that can go."""
    ratio = fraction(job.settings, "ratio", default=0.5)
    epochs = count(job.settings, "epochs", default=24)
    kind, lasso = str(job.settings.get("importance", "taylor")), float(job.settings.get("lasso", 0.0))
    if kind not in _KINDS or not lasso >= 0:
        raise SpecError(f"'importance' is '{kind}' and 'lasso' {lasso:g}.", hint=f"Known: {', '.join(_KINDS)}; lasso is 0 or more.")
    with torch_threads(job.thread_count):
        course = begin(job)
        narrow = narrowable(course)
        before, fits = narrow.widths, []
        rounds = _rounds(before, ratio)
        if lasso > 0:
            groups = [group for group in narrow.groups if group is not None]
            penalty = group_lasso(narrow.coupling, narrow.network, groups, lasso)
            fits.append(course.train(narrow.network, Schedule(max(1, round(_BETWEEN * epochs)), penalty=penalty), share=0.2))
        for number, widths in enumerate(rounds, start=1):
            is_last = number == len(rounds)
            job.report(f"round {number} of {len(rounds)}: widths {shown(widths)}")
            narrow = narrowed(course, narrow, widths, _importances(course, narrow, kind))
            length = epochs if is_last else max(1, round(_BETWEEN * epochs))
            fits.append(course.train(narrow.network, Schedule(length), share=1.0 if is_last else 0.2))
        notes = (f"widths {shown(before)} became {shown(narrow.widths)}, by {kind} importance",)
        return course.finish(narrow.network, cut(narrow.network, narrow.coupling, {}), fits, notes)


def _rounds(before: Sequence[int], ratio: float) -> list[list[int]]:
    """Return how many units each group keeps after each round; raises UnsupportedError where none would go."""
    kept, rounds = 1.0, []
    while kept > 1 - ratio + 1e-9:
        kept = max(1 - ratio, kept * _ROUND_RATIO)
        rounds.append(narrower(before, kept))
    if rounds[-1] == list(before):
        raise IdlePassError(f"A ratio of {ratio:g} leaves nothing out of groups of {shown(before)}.", hint="Give a larger ratio.")
    return rounds


def _importances(course: Course, narrow: Narrow, kind: str) -> list[Tensor | None]:
    """Return how much each unit of each group matters."""
    groups = [group for group in narrow.groups if group is not None]
    if kind == "taylor":
        found = iter(taylor(narrow.network, narrow.coupling, groups, course.lessons, course.objective))
    else:
        found = iter([group_norms(narrow.network, narrow.coupling, group) for group in groups])
    return [None if group is None else next(found) for group in narrow.groups]
