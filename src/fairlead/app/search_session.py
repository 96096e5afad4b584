"""Settings of the engine's session for the best model: each tried in turn, kept only where pairs show that the model is faster with it.

Takes the best contender and the Trials; gives the contender with the settings that pay, and the points of all that were tried. Where memory
is what counts, a setting stays that takes less of it and is not slower. It never changes the model's file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fairlead.app.search_finish import Contender
from fairlead.app.search_measure import is_slower
from fairlead.app.search_trials import Trials
from fairlead.core.conversion import RuntimeForm, RuntimeModel
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.engines.catalog import ENGINES
from fairlead.errors import EnvironmentalError, FairleadError
from fairlead.verify.run_rows import run_in_pieces

_LESS_MEMORY = 0.97
_HARDLY = frozenset({("graph", "none")})  # what nobody would win by: every optimization is of somebody's making
_WITH_THREADS = frozenset({("execution", "parallel")})


def tune(best: Contender, trials: Trials) -> Contender:
    """Return the best with the settings that pay; itself where none does, it loses too much for any to matter, or the time is up."""
    settings: Mapping[str, tuple[str, ...]] = getattr(ENGINES.load(best.candidate.engine), "session_settings", {})
    if trials.setup.objective is Objective.SIZE or not best.finding.holds_floor:
        return best
    name = best.candidate.name
    for setting, values in settings.items():
        for candidate in _candidates(best.candidate, setting, values, name):
            if not trials.may_compare:
                return best
            point, tuned = _tried(candidate, best, trials)
            trials.points.append(point)
            if tuned is not None:
                best = tuned
                break
    return best


def _candidates(before: Candidate, setting: str, values: tuple[str, ...], name: str) -> Iterator[Candidate]:
    for value in values[1:]:
        is_idle = (setting, value) in _WITH_THREADS and before.thread_count == 1
        if not is_idle and (setting, value) not in _HARDLY:
            session = (*before.session, f"{setting}={value}")
            yield replace(before, name=f"{name}, {', '.join(session)}", session=session)


def _tried(candidate: Candidate, best: Contender, trials: Trials) -> tuple[SearchPoint, Contender | None]:
    """Compare; where it pays, the model is measured and judged anew: another order of operations may round otherwise."""
    refused = replace(best.point, candidate=candidate, status=PointStatus.UNDONE, latency_ms=None, against_baseline=None)
    try:
        compared = trials.meter.compare(candidate, best.path, best.candidate, best.path)
        if not _pays(compared, candidate, best, trials):
            return replace(refused, reason=f"the setting does not pay: {compared} with it than without"), None
        engine = trials.meter.opener(candidate, best.path)()
        try:
            outputs = run_in_pieces(engine, trials.setup.rows.selection.inputs)
        finally:
            engine.close()
    except (FairleadError, EnvironmentalError) as error:
        return replace(refused, status=PointStatus.FAILED, reason=error.message), None
    model = RuntimeModel(RuntimeForm(candidate.form), best.path, {best.path.name: best.path})
    point, finding = trials.judged(candidate, best.finding.recipe, model, outputs, digest=best.point.digest)
    tuned = Contender(candidate, finding, point, best.path)
    return point, tuned if tuned.is_whole >= best.is_whole else None


def _pays(compared: Comparison, candidate: Candidate, best: Contender, trials: Trials) -> bool:
    if trials.setup.objective is Objective.MEMORY:
        before, after = (trials.meter.memory_bytes(one, best.path) for one in (best.candidate, candidate))
        return after < before * _LESS_MEMORY and not is_slower(compared)
    return compared.outcome is Outcome.FASTER
