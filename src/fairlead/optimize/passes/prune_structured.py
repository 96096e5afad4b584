"""Takes whole filters, neurons and recurrent cells out of a network, and trains what is left. Lossy; smaller and faster everywhere.

Units are found through the whole graph: a filter goes from every layer that sees it, through additions, joins, depthwise convolutions,
normalization and flattening. The least important go first, in rounds with training in between. Inputs, outputs and the width that
normalization runs over stay. Refuses models without such units, and models that training does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fairlead.core.interface import Array
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.axes import Group
from fairlead.optimize.training.coupling import Coupling, couple, cuttable
from fairlead.optimize.training.coupling_layers import RULES
from fairlead.optimize.training.course import Course, begin, count, fraction
from fairlead.optimize.training.cutting import check_cut, cut
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.importance import group_lasso, group_norms, taylor
from fairlead.optimize.training.network import Network, network_of

_STEP = 4  # widths are multiples of it where a group is wide enough: what processors compute at once
_ROUND_RATIO = 0.5  # of the units may go in one round
_BETWEEN = 0.25  # of the epochs, between two rounds
_KINDS = ("taylor", "norm")


def prune_structured(job: PassJob) -> PassResult:
    """Write the model of `job` without `ratio` of its units; raises UnsupportedError where it has none that can go."""
    ratio = fraction(job.settings, "ratio", default=0.5)
    epochs = count(job.settings, "epochs", default=24)
    kind, lasso = str(job.settings.get("importance", "taylor")), float(job.settings.get("lasso", 0.0))
    if kind not in _KINDS or lasso < 0:
        raise SpecError(f"'importance' is '{kind}' and 'lasso' {lasso:g}.", hint=f"Known: {', '.join(_KINDS)}; lasso is 0 or more.")
    with torch_threads(job.thread_count):
        course = begin(job)
        network, fits, sizes = course.network, [], []
        coupling, groups = _groups(course, network)
        before = [group.size for group in groups]
        if lasso > 0:
            penalty = group_lasso(coupling, network, groups, lasso)
            fits.append(course.train(network, Schedule(max(1, round(_BETWEEN * epochs)), penalty=penalty), share=0.2))
        rounds = _widths(before, ratio)
        for number, widths in enumerate(rounds):
            is_last = number == len(rounds) - 1
            network = _without(course, network, coupling, groups, widths, kind)
            job.report(f"round {number + 1} of {len(rounds)}: widths {_shown(widths)}")
            length = epochs if is_last else max(1, round(_BETWEEN * epochs))
            fits.append(course.train(network, Schedule(length), share=1.0 if is_last else 0.2))
            coupling, groups = _groups(course, network)
            sizes = widths
        notes = (f"widths {_shown(before)} became {_shown(sizes)}, by {kind} importance",)
        return course.finish(network, cut(network, coupling, {}), fits, notes)


def _groups(course: Course, network: Network) -> tuple[Coupling, list[Group]]:
    coupling = couple(network, course.probe(), RULES)
    groups = cuttable(coupling, network)
    if not groups:
        raise UnsupportedError(
            "The model has no filters or neurons that could be left out.", hint="Leave the pass 'prune_structured' out for this model."
        )
    return coupling, groups


def _widths(before: Sequence[int], ratio: float) -> list[list[int]]:
    """Return how many units each group keeps after each round; raises UnsupportedError where none would go."""
    kept, rounds = 1.0, []
    while kept > 1 - ratio + 1e-9:
        kept = max(1 - ratio, kept * _ROUND_RATIO)
        rounds.append([_rounded(size, kept) for size in before])
    if rounds[-1] == list(before):
        raise UnsupportedError(
            f"To leave out {ratio:g} of the units of groups of {_shown(before)} leaves none out.", hint="Give a larger ratio."
        )
    return rounds


def _rounded(size: int, kept: float) -> int:
    wanted = size * kept
    if size >= 4 * _STEP:
        return max(_STEP, round(wanted / _STEP) * _STEP)
    return max(1, round(wanted))


def _without(course: Course, network: Network, coupling: Coupling, groups: Sequence[Group], widths: Sequence[int], kind: str) -> Network:
    """Return the network with the most important units of each group alone."""
    if kind == "taylor":
        scores = taylor(network, coupling, groups, course.lessons, course.objective)
    else:
        scores = [group_norms(network, coupling, group) for group in groups]
    kept: dict[int, Array] = {}
    for group, score, width in zip(groups, scores, widths, strict=True):
        mask = torch.zeros(group.size, dtype=torch.bool)
        mask[torch.argsort(score, descending=True, stable=True)[:width]] = True
        kept[id(group)] = mask.numpy()
    after = network_of(cut(network, coupling, kept))
    check_cut(network, coupling, kept, after, course.probe())
    return after


def _shown(widths: Sequence[int]) -> str:
    text = ", ".join(str(width) for width in widths[:8])
    return f"{text}, ... ({len(widths)} groups)" if len(widths) > 8 else text
