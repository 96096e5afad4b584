"""Trials one after the other: what to try is asked of the strategy, made in a process of its own, screened, measured, and told back.

Takes a Setup; gives points and what was made. The processes that make models run beside each other; where something is timed they are held.
What was made is kept by digest, what was measured in a journal, each as soon as it is known. Ends when nothing new is left to try, or when
the time is up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead._version import __version__
from fairlead.app.search_luck import prior_for
from fairlead.app.search_measure import Meter, first_broken, is_slower, shortfall
from fairlead.app.search_setup import ONNX_ENGINE, Setup
from fairlead.app.search_voice import SearchVoice
from fairlead.app.trial_cache import TrialCache, key_of
from fairlead.app.trial_process import TrialEnd, TrialJob, TrialPool
from fairlead.app.trial_quality import COUNTED
from fairlead.core.conversion import MAIN_FILE, RuntimeForm, RuntimeModel
from fairlead.core.interface import Tensors
from fairlead.core.lineage import Step
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.pass_use import PassUse
from fairlead.core.plan import Candidate
from fairlead.core.requirement import Requirement
from fairlead.core.search import PointStatus, SearchPoint
from fairlead.engines.tensor_file import read_tensors
from fairlead.errors import FairleadError
from fairlead.optimize.catalog import complete_settings, is_lossy
from fairlead.optimize.search.front import Finding, ranked
from fairlead.optimize.search.space import Recipe
from fairlead.optimize.search.strategy import Strategy
from fairlead.security.digests import digest_file
from fairlead.stores.document import load
from fairlead.verify.keeping import Prior

_SHARE = 4  # of the budget that one trial may train for, at most
_LEAST_S = 10.0
_STARTING_S = 30.0  # of a trial's process, its libraries and its selection rows, beside what its passes may take
_FOREVER_S = 30 * 86_400.0
_SHORTENED = "shortened"
TIME_UP = "the time was up"
Made = tuple[Path, tuple[Step, ...]]


@dataclass(frozen=True)
class Limits:
    """`ends_at` is when trials end, `closes_at` when choosing among them does, both by the monotonic clock, infinite for no limit. `facts`
    decide what passes make, beside the model and the pass.
    """

    ends_at: float
    closes_at: float
    budget_s: float
    width: int
    memory_bytes: int
    seed: int
    facts: Mapping[str, object] = field(default_factory=dict)


def name_of(recipe: Recipe) -> str:
    """What a person reads."""
    return " + ".join(map(str, recipe)) or "as-converted"


def _why_undone(comparison: Comparison | None, baseline: str) -> str:
    is_shown = comparison is not None and comparison.outcome is Outcome.SLOWER
    return f"{comparison} than {baseline} here" if is_shown else f"not shown to be as fast as {baseline}: {comparison}"


def is_shortened(step: Step) -> bool:
    """Whether the pass says that its time was too short for all that it would have done: it cannot be made again to the same bytes."""
    return any("time limit" in note for note in step.notes)


def texts(recipe: Recipe) -> tuple[str, ...]:
    """The passes as a candidate has them."""
    return tuple(map(str, recipe))


class Trials:
    """Runs a search's trials. `points`, `made` and `strategy` grow as it goes."""

    def __init__(self, setup: Setup, meter: Meter, cache: TrialCache, limits: Limits, folder: Path, voice: SearchVoice) -> None:
        self.setup, self.meter, self.limits, self.voice = setup, meter, limits, voice
        self.points: list[SearchPoint] = []
        self.made: dict[tuple[str, ...], Made] = {}
        self.strategy = Strategy(setup.space, setup.objective)
        self._cache, self._folder = cache, folder
        self._by_digest: dict[str, tuple[SearchPoint, Finding]] = {}
        self._cached_count: dict[str, int] = {}
        self._number = 0

    def run(self, on_point: Callable[[SearchPoint], None], recall: Callable[[str], SearchPoint | None]) -> str:
        """Try until nothing is left or the time is up; return why it ended. `recall` gives points of an earlier run by name."""
        pool = self._pool(self.limits.width)
        pending: dict[str, Recipe] = {}
        try:
            while True:
                while pool.has_room and self._left_s() > 0:
                    recipe = self.strategy.ask(tuple(pending.values()))
                    if recipe is None:
                        break
                    remembered = recall(name_of(recipe))
                    if remembered is not None and self._restore(recipe, remembered):
                        on_point(self.points[-1])
                        continue
                    pending[name_of(recipe)] = recipe
                    pool.start(self._job(recipe))
                    self.voice.started(name_of(recipe))
                if pool.is_idle:
                    self._weigh_again()
                    return TIME_UP if self._left_s() <= 0 else "nothing new was left to try"
                end = pool.wait()
                recipe = pending.pop(end.job.name)
                self.voice.ended(end.job.name)
                if end.is_late and self._left_s() <= 0:
                    continue  # the search's time was up, not the trial's
                with pool.paused():
                    on_point(self._conclude(recipe, end))
        finally:
            pool.close()

    def try_now(self, recipe: Recipe) -> Finding | None:
        """Return what is known of `recipe`; tries it where nothing is. None where the time is up."""
        known = next((one for one in self.strategy.findings if one.recipe == recipe), None)
        if known is not None or self._left_s() <= 0:
            return known
        end = self._alone(self._job(recipe))
        if end.is_late:
            return None
        self._conclude(recipe, end)
        return self.strategy.findings[-1]

    def remake(self, recipe: Recipe) -> Finding | None:
        """Make `recipe` again without a limit on its passes, where its training was shortened; None where that is not done."""
        _, steps = self.made[texts(recipe)]
        if not any(map(is_shortened, steps)) or self._left_s() <= 0:
            return None
        end = self._alone(self._job(recipe, is_free=True))
        if end.is_late or end.reason:
            return None
        name = name_of(recipe)
        self.points = [point for point in self.points if point.candidate.name != name]
        self._by_digest = {digest: known for digest, known in self._by_digest.items() if known[0].candidate.name != name}
        self.strategy = replace(self.strategy, findings=tuple(one for one in self.strategy.findings if one.recipe != recipe))
        self._conclude(recipe, end)
        return self.strategy.findings[-1]

    def _alone(self, job: TrialJob) -> TrialEnd:
        pool = self._pool(1)
        try:
            pool.start(job)
            self.voice.started(job.name)
            return pool.wait()
        finally:
            self.voice.ended(job.name)
            pool.close()

    def _pool(self, width: int) -> TrialPool:
        return TrialPool(width, self.voice.said, self.voice.tick)

    @property
    def has_time(self) -> bool:
        """Whether the time for trials is not up."""
        return self._left_s() > 0

    @property
    def may_compare(self) -> bool:
        """Whether there is time to compare more before the verdict."""
        return time.monotonic() < self.limits.closes_at

    def _left_s(self) -> float:
        return self.limits.ends_at - time.monotonic()

    def candidate(self, recipe: Recipe) -> Candidate:
        """The candidate that a recipe stands for."""
        return Candidate(name_of(recipe), texts(recipe), ONNX_ENGINE, 1, "found by the search")

    def _job(self, recipe: Recipe, *, is_free: bool = False) -> TrialJob:
        """Begin where an earlier trial has been: what it shares with one is not done again. `is_free`: without a limit for each."""
        left_s = max(self._left_s(), 0.0)
        is_free = is_free or math.isinf(left_s)
        source, steps, done = self._prefix(recipe, is_whole=is_free)
        self._cached_count[name_of(recipe)] = done
        self.made[texts(recipe[:done])] = (source, steps)
        self._number += 1
        time_s = 0.0 if is_free else min(max(self.limits.budget_s / _SHARE, _LEAST_S), left_s)
        return TrialJob(
            name=name_of(recipe),
            source=source,
            passes=texts(recipe[done:]),
            first=done,
            folder=self._folder / f"trial-{self._number}",
            shared=self.setup.shared,
            seed=self.limits.seed,
            time_s=time_s,
            limit_s=min(_FOREVER_S if is_free else 1.5 * time_s + _STARTING_S, left_s),
            memory_bytes=self.limits.memory_bytes,
        )

    def _prefix(self, recipe: Recipe, *, is_whole: bool = False) -> tuple[Path, tuple[Step, ...], int]:
        source: Path = self.setup.trial.conversion.path
        steps: tuple[Step, ...] = ()
        for count, use in enumerate(recipe):
            found = self._cache.get(self._key(source, use)) or (None if is_whole else self._cache.get(self._key(source, use, _SHORTENED)))
            if found is None:
                return source, steps, count
            source, steps = found[0], (*steps, found[1])
        return source, steps, len(recipe)

    def _key(self, source: Path, use: PassUse, kind: str = "") -> str:
        """What decides the bytes; a pass that was shortened by its time is of another `kind`."""
        facts = {"model": digest_file(source), "pass": use.name, "settings": complete_settings(use), "release": __version__, "kind": kind}
        return key_of({**facts, **self.limits.facts})

    def _keep(self, recipe: Recipe, end: TrialEnd) -> Made:
        """Keep what the trial's passes made; return the last model and the steps to it."""
        source, steps = self.made[texts(recipe[: end.job.first])]
        for number in range(end.job.first, end.job.first + end.finished_count):
            step = load((end.job.folder / f"{number}.json").read_bytes(), Step)
            kind = _SHORTENED if is_shortened(step) else ""
            source = self._cache.put(self._key(source, recipe[number], kind), end.job.folder / f"{number}.onnx", step)
            steps = (*steps, step)
            self.made[texts(recipe[: number + 1])] = (source, steps)
        return source, steps

    def _conclude(self, recipe: Recipe, end: TrialEnd) -> SearchPoint:
        """Keep what was made, screen it, and measure it where it holds the floor."""
        started = time.monotonic()
        path, _ = self._keep(recipe, end)
        if end.reason:
            point = SearchPoint(self.candidate(recipe), "", PointStatus.FAILED, reason=end.reason, seconds=end.seconds)
            return self._tell(point, Finding(recipe, holds_floor=False, is_failed=True))
        digest = digest_file(path)
        is_cached = bool(recipe) and self._cached_count[name_of(recipe)] == len(recipe)
        if digest in self._by_digest:
            twin, finding = self._by_digest[digest]
            reason = f"the same model as {twin.candidate.name}"
            point = replace(
                twin,
                candidate=self.candidate(recipe),
                status=PointStatus.DUPLICATE,
                reason=reason,
                seconds=end.seconds,
                is_cached=is_cached,
            )
            return self._tell(point, replace(finding, recipe=recipe))
        try:
            point, finding = self._measure(recipe, path, digest, end)
        except FairleadError as error:
            point = SearchPoint(self.candidate(recipe), digest, PointStatus.FAILED, reason=error.message)
            finding = Finding(recipe, holds_floor=False, is_failed=True)
        point = replace(point, seconds=end.seconds + time.monotonic() - started, is_cached=is_cached)
        self._by_digest[digest] = (point, finding)
        return self._tell(point, finding)

    def _measure(self, recipe: Recipe, path: Path, digest: str, end: TrialEnd) -> tuple[SearchPoint, Finding]:
        outputs = read_tensors(end.job.folder / "outputs.npz")
        model = RuntimeModel(RuntimeForm.ONNX, path, {MAIN_FILE[RuntimeForm.ONNX]: path})
        return self.judged(self.candidate(recipe), recipe, model, outputs, digest=digest)

    def judged(
        self, candidate: Candidate, recipe: Recipe, model: RuntimeModel, outputs: Tensors, *, digest: str
    ) -> tuple[SearchPoint, Finding]:
        """Measure a model that gives `outputs` on the rows that choose, and say what becomes of it."""
        judge = self.setup.judge
        values = judge.values(outputs)
        holds = judge.broken(values) is None
        moved = judge.moved(outputs)
        found = self.meter.measure(candidate, model, is_timed=holds)
        every = {**values, **found.values}
        requirements = self.setup.trial.plan.requirements
        ratio = self._ratio(found.against_baseline, found.about_ms)
        finding = Finding(
            recipe,
            holds,
            found.size_bytes,
            ratio,
            found.memory_bytes,
            shortfall(every, requirements),
            is_slower=is_slower(found.against_baseline),
            loss=judge.loss(values),
        )
        point = SearchPoint(
            candidate,
            digest,
            PointStatus.KEPT,
            found.size_bytes,
            found.compressed_bytes,
            {name: value for name, value in every.items() if value == value},  # noqa: PLR0124 - a number that is none is not measured
            self.meter.baseline_ms * ratio if holds else None,
            found.against_baseline,
            finding.loss,
            moved=moved,
            about_ms=found.about_ms,
        )
        chance = judge.chance(values, moved, self._prior(point), outputs) if holds and is_lossy(recipe) else None
        if chance is not None:
            point, finding = replace(point, chance=chance), replace(finding, chance=chance)
        broken = first_broken(every, requirements)
        if broken:
            point = replace(point, status=PointStatus.REJECTED, reason=broken)
        elif finding.is_slower:
            point = replace(point, status=PointStatus.UNDONE, reason=_why_undone(found.against_baseline, self.setup.baseline))
        return point, finding

    def _ratio(self, comparison: Comparison | None, about_ms: float | None) -> float:
        """Its time over the baseline's, by pairs or by a quick look; 1 for the baseline itself."""
        if comparison is not None:
            return comparison.ratio
        return 1.0 if about_ms is None else about_ms / self.meter.baseline_ms

    def _prior(self, point: SearchPoint) -> Callable[[Requirement], Prior]:
        """What the models so far show of luck."""
        return prior_for(point, self.points, self.setup.judge, self.setup.objective)

    def _weigh_again(self) -> None:
        """Once all trials are known, so is how much of a good one is luck."""
        judge = self.setup.judge
        for place, point in enumerate(self.points):
            chance = judge.chance(point.values, point.moved, self._prior(point)) if point.chance is not None else None
            if chance is not None and point.chance is not None:
                has_more = any(one.is_loss_bound and one.metric not in COUNTED for one in judge.requirements)
                self.points[place] = replace(point, chance=min(chance, point.chance) if has_more else chance)
        known = {point.candidate.name: point.chance for point in self.points if point.chance is not None}
        findings = (replace(one, chance=known.get(name_of(one.recipe), one.chance)) for one in self.strategy.findings)
        self.strategy = replace(self.strategy, findings=tuple(findings))

    def _restore(self, recipe: Recipe, point: SearchPoint) -> bool:
        """Take a point of an earlier run as it stands; False where the model that it is about is gone."""
        source, steps, done = self._prefix(recipe)
        if point.status is not PointStatus.FAILED and done < len(recipe):
            return False
        if point.status is PointStatus.FAILED:
            self._tell(point, Finding(recipe, holds_floor=False, is_failed=True))
            return True
        self.made[texts(recipe)] = (source, steps)
        finding = self._finding(recipe, point)
        self._by_digest.setdefault(point.digest, (point, finding))
        self._tell(replace(point, is_cached=True), finding)
        return True

    def _finding(self, recipe: Recipe, point: SearchPoint) -> Finding:
        requirements, comparison = self.setup.trial.plan.requirements, point.against_baseline
        return Finding(
            recipe,
            point.latency_ms is not None,
            point.size_bytes,
            self._ratio(comparison, point.about_ms),
            round(point.values.get("memory_mb", 0.0) * 1e6),
            shortfall(point.values, requirements),
            is_slower=is_slower(comparison),
            loss=point.loss,
            chance=1.0 if point.chance is None else point.chance,
        )

    def _tell(self, point: SearchPoint, finding: Finding) -> SearchPoint:
        self.points.append(point)
        self.strategy = self.strategy.tell(finding)
        return point

    @property
    def best(self) -> tuple[Finding, ...]:
        """The findings that hold the floor, best first."""
        return ranked(self.strategy.findings, self.setup.objective)
