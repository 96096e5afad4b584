"""The end of a search: the best recipes in other forms and on more threads, what did not pay undone, and the order for the verdict.

Takes the Trials; gives contenders, best first. A pass stays only where pairs show that the model is faster with it, or where it is smaller
with it and not slower; a model that is slower than the baseline comes last, and only counts where a bound leaves no other.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.lineup import enter
from fairlead.app.search_measure import is_slower
from fairlead.app.search_setup import Setup, answers_of
from fairlead.app.search_trials import Trials, name_of
from fairlead.app.wiring import House
from fairlead.core.conversion import ENGINE_OF_FORM, MAIN_FILE, RuntimeForm, RuntimeModel
from fairlead.core.ledger import Measured
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.errors import EnvironmentalError, FairleadError, InputError
from fairlead.optimize.search.front import TIE, Finding, pareto, ranked
from fairlead.optimize.search.space import Family, Recipe, place_of
from fairlead.plan.relaxation import undecided
from fairlead.security.digests import digest_file

_CLOSE = 1.15  # times that lie within are compared with each other once more
_SMALLER = 0.995
_TRIED, _BUILT = 6, 2  # recipes in another form: not every form holds every graph
_FORMS = (RuntimeForm.OPENVINO, RuntimeForm.TREES)  # that take passes, beside ONNX
_SHARING = (RuntimeForm.ONNX, *_FORMS)  # whose engines share a call among threads


@dataclass(frozen=True)
class Contender:
    """A model that could be taken: what runs it and what is known of it. `path` is its main file."""

    candidate: Candidate
    finding: Finding
    point: SearchPoint
    path: Path

    @property
    def is_whole(self) -> bool:
        """Whether it keeps everything that was measured."""
        return self.finding.holds_floor and self.finding.shortfall == 0


def plain_contenders(setup: Setup, trials: Trials) -> list[Contender]:
    """Return the models that no pass has touched, measured like any other; the strategy is told what ONNX Runtime showed."""
    found = []
    for name, entrant in setup.plain.items():
        outputs, digest = answers_of(entrant, setup.rows), digest_file(entrant.model.path)
        point, finding = trials.judged(entrant.candidate, (), entrant.model, outputs, digest=digest)
        found.append(Contender(entrant.candidate, finding, point, entrant.model.path))
        trials.points.append(point)
        if name == name_of(()):
            trials.strategy = trials.strategy.tell(finding)
    return found


def trial_contenders(trials: Trials) -> list[Contender]:
    """Return what the search found that holds the floor, each model once."""
    points = {point.candidate.name: point for point in trials.points}
    found = []
    for finding in trials.best:
        point = points[name_of(finding.recipe)]
        if finding.recipe and point.status is not PointStatus.DUPLICATE:
            found.append(Contender(point.candidate, finding, point, trials.made[point.candidate.passes][0]))
    return found


def variants(order: Sequence[Contender], setup: Setup, trials: Trials, house: House, folder: Path) -> list[Contender]:
    """Return the best recipes of `order` in the other forms that run here, two of each, and its first, touched by a pass or not, on all
    threads that one call may take.
    """
    best = [one for one in order if one.finding.recipe]
    found: list[Contender] = []
    for form in _forms(best, setup):
        built = 0
        for one in best[:_TRIED]:
            if built < _BUILT and trials.may_compare:
                engine = ENGINE_OF_FORM[form]
                candidate = replace(one.candidate, name=f"{one.candidate.name} on {engine}", form=form.value, engine=engine)
                contender = _entered(candidate, one, trials, house, folder)
                built += contender is not None
                found += [] if contender is None else [contender]
    threads, first = setup.trial.plan.target.core_count, order[0]
    if threads > 1 and first.finding.holds_floor and first.candidate.form in _SHARING and trials.may_compare:
        candidate = replace(first.candidate, name=f"{first.candidate.name}, {threads} threads", thread_count=threads)
        contender = _entered(candidate, first, trials, house, folder)
        found += [] if contender is None else [contender]
    return [one for one in found if one.finding.holds_floor]


def _forms(best: Sequence[Contender], setup: Setup) -> list[RuntimeForm]:
    """The forms beside ONNX that the model runs in here and that take passes; the kernel for trees where a student is made of them."""
    plain = {entrant.candidate.form for entrant in setup.plain.values()}
    has_trees = any(place_of(use.name).makes is Family.TREES for one in best[:_TRIED] for use in one.finding.recipe)
    return [form for form in _FORMS if form.value in plain or (form is RuntimeForm.TREES and has_trees)]


def _entered(candidate: Candidate, like: Contender, trials: Trials, house: House, folder: Path) -> Contender | None:
    """Build and measure a candidate of a recipe that has been made; None where its form cannot hold it, which is said."""
    setup = trials.setup
    trial = replace(setup.trial, made={passes: made for passes, made in trials.made.items() if passes})
    try:
        entrant = enter(candidate, trial, house, folder)
        try:
            outputs = answers_of(entrant, setup.rows)
        finally:
            entrant.engine.close()
    except (InputError, EnvironmentalError) as error:
        trials.points.append(SearchPoint(candidate, "", PointStatus.FAILED, reason=error.message))
        return None
    point, finding = trials.judged(candidate, like.finding.recipe, entrant.model, outputs, digest=digest_file(entrant.model.path))
    trials.points.append(point)
    return Contender(candidate, finding, point, entrant.model.path)


def in_order(contenders: Sequence[Contender], objective: Objective) -> list[Contender]:
    """Return the contenders, best first: those that keep every bound, of these first those that are not slower than the baseline. Last, the
    fastest first, are those that lose more than may be lost: the model itself may, of a quality that it never had.
    """
    places = {id(one.finding): place for place, one in enumerate(contenders)}
    order = [contenders[places[id(finding)]] for finding in ranked([one.finding for one in contenders], objective)]
    order.sort(key=lambda one: (not one.is_whole, one.finding.is_slower))
    broken = sorted((one for one in contenders if not one.finding.holds_floor), key=lambda one: one.finding.time_ratio)
    return [*order, *broken]


def turns(contenders: Sequence[Contender], count: int) -> list[Contender]:
    """Return whom to prove, in turn: at most `count` of those that are better than every model that no pass has touched, then these. Where
    all of these lose too much on the rows that chose, by luck perhaps, the first of them has its turn still.
    """
    whole = [one for one in contenders if one.is_whole]
    if not whole:
        return list(contenders[:1])
    better = list(itertools.takewhile(lambda one: one.finding.recipe, whole))
    untouched = [one for one in whole if not one.finding.recipe]
    unlucky = [one for one in contenders if not one.finding.recipe and not one.finding.holds_floor and not one.finding.shortfall]
    return [*looks(better, count), *(untouched or unlucky[:1])]


def looks(order: Sequence[Contender], count: int) -> list[Contender]:
    """Return whom to hold against the rows of the verdict, in turn, at most `count`: the best; where it is red, the best that decides
    otherwise in at most half as many rows, and so on.

    The best of many looks a little better on the rows that chose it than it is, and what was made of it falls with it: the next in order
    is often the same network, stored in another way.
    """
    taken, rest = list(order[:1]), list(order[1:])
    while rest and len(taken) < count:
        following = next((one for one in rest if _risk(one) <= _risk(taken[-1]) / 2), rest[0])
        taken.append(following)
        rest.remove(following)
    return taken


def _risk(one: Contender) -> float:
    """In how many rows it decides otherwise than the original; where nothing decides, what it lost."""
    return one.point.values.get("decision_flips", one.point.loss)


def settled(order: Sequence[Contender], objective: Objective, trials: Trials) -> list[Contender]:
    """Compare the first with those that are about as good, and put the winner first: their times so far are each from pairs of its own."""
    best, *others = order
    if objective is not Objective.LATENCY or not best.finding.holds_floor:
        return [best, *others]
    rivals = [one for one in others[:2] if one.finding.holds_floor and one.is_whole == best.is_whole and not one.finding.is_slower]
    for other in rivals:
        if trials.may_compare and other.finding.weighed_time <= best.finding.weighed_time * _CLOSE:
            compared = trials.meter.compare(other.candidate, other.path, best.candidate, best.path, is_final=True)
            is_smaller = other.finding.size_bytes < best.finding.size_bytes * _SMALLER
            is_better = compared.outcome is Outcome.FASTER or (compared.outcome is Outcome.EQUAL and is_smaller)
            if is_better and other.finding.weighed_time <= best.finding.weighed_time * TIE:  # not by luck on the rows that chose it
                best = other
    return [best, *(one for one in order if one is not best)]


def undo(best: Contender, trials: Trials, contenders: Sequence[Contender]) -> tuple[Contender, list[tuple[str, str]]]:
    """Take back what does not pay, the last pass first; return what is left, and why each was undone."""
    undone: list[tuple[str, str]] = []
    for use in reversed(best.finding.recipe):
        if not trials.may_compare:
            break
        shorter: Recipe = tuple(one for one in best.finding.recipe if one != use)
        finding = trials.try_now(shorter)
        known = _contender(shorter, best, [*contenders, *trial_contenders(trials)])
        if finding is None or known is None or known.is_whole < best.is_whole:
            continue
        compared = trials.meter.compare(best.candidate, best.path, known.candidate, known.path, is_final=True)
        is_smaller = best.finding.size_bytes < known.finding.size_bytes * _SMALLER
        if compared.outcome is Outcome.FASTER or (is_smaller and not is_slower(compared)):
            continue
        undone.append((str(use), _why(compared, is_smaller=is_smaller)))
        best = known
    return best, undone


def trained_to_the_end(best: Contender, trials: Trials) -> Contender | None:
    """Return the best made again where its training was shortened: only that can be reproduced. None where it was not, or is worse then."""
    if not best.finding.recipe or trials.remake(best.finding.recipe) is None:
        return None
    again = _contender(best.finding.recipe, best, trial_contenders(trials))
    return again if again is not None and again.is_whole >= best.is_whole else None


def measure_what_could_give(trials: Trials) -> None:
    """Where nothing keeps every bound, measure what a screen dropped and might still need least: only then a relaxation is the smallest.

    Trials that broke the floor were not timed. Those whose missing values may matter are, the most promising first, each once.
    """
    requirements, looked_at = trials.setup.trial.plan.requirements, set[str]()
    while trials.has_time:
        measured = [
            Measured(one.candidate.name, one.values) for one in trials.points if one.digest and one.status is not PointStatus.DUPLICATE
        ]
        names = [name for name in undecided(measured, requirements) if name not in looked_at]
        if not names:
            return
        looked_at.add(names[0])
        place = next(number for number, one in enumerate(trials.points) if one.candidate.name == names[0])
        point = trials.points[place]
        if point.candidate.passes in trials.made and point.candidate.form == RuntimeForm.ONNX.value:
            path = trials.made[point.candidate.passes][0]
            with contextlib.suppress(FairleadError):  # it stays undecided, which the ledger says
                found = trials.meter.measure(point.candidate, RuntimeModel(RuntimeForm.ONNX, path, {MAIN_FILE[RuntimeForm.ONNX]: path}))
                trials.points[place] = replace(point, values={**point.values, **found.values})


def _contender(recipe: Recipe, like: Contender, among: Sequence[Contender]) -> Contender | None:
    """The contender with that recipe which runs as `like` does."""
    same = [one for one in among if one.finding.recipe == recipe and one.candidate.form == like.candidate.form]
    return next((one for one in same if one.candidate.thread_count == like.candidate.thread_count), None)


def _why(compared: Comparison, *, is_smaller: bool) -> str:
    size = "smaller with it" if is_smaller else "not smaller with it"
    return f"{compared} with it than without, and {size}"


def front_of(contenders: Sequence[Contender]) -> tuple[str, ...]:
    """Return the names of those that keep everything and that no other beats in time, size and loss at once."""
    whole = [one for one in contenders if one.is_whole and not one.finding.is_slower]
    front = pareto([one.finding for one in whole])
    return tuple(next(one.candidate.name for one in whole if one.finding is finding) for finding in front)
