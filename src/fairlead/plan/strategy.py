"""From scenario, needs, promise and load to a strategy: how to roll out, batch, watch and secure, each value with its reason. Pure.

Takes a StrategyJob, gives a core Strategy. Rules are laid over each other: defaults, the scenario, its needs and the user's in the order of
`Need`, what fairlead.yaml says itself, and what follows from promise and load for all that it does not say. Raises SpecError for a value of
the user's that makes no sense; one that weakens what a need asks for is the user's to choose, and is said in the notes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.core.capacity import CapacityPlan
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.strategy import (
    KEYS,
    SECTIONS,
    ExplanationPolicy,
    Need,
    NetworkPolicy,
    Preset,
    Reason,
    RolloutKind,
    Strategy,
    StrategyRule,
    Value,
)
from fairlead.errors import SpecError
from fairlead.plan.strategy_needs import NEEDS

_OWN = "fairlead.yaml"
_DEFAULT = Reason("nothing asks for anything else", "default")
_ENOUGH_REQUESTS = 1000  # what a first step has to see within a day to tell anything at all
_SECONDS_PER_DAY = 86400.0
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)
_USUAL_STEPS = (0.01, 0.1, 0.5)
_USUAL_SHADOW = 0.2
_WAIT_RATIO = 0.1  # waiting for company may take this much of the promised latency
# From weak to strict; flags and numbers of days are ordered as they are.
_STRICTNESS: Mapping[str, tuple[Value, ...]] = {
    "security.network": (NetworkPolicy.PRIVATE, NetworkPolicy.ISOLATED, NetworkPolicy.LOOPBACK),
    "explanations.policy": tuple(ExplanationPolicy),
}
_GUARDED = ("security.", "explanations.", "retention.audit_days")


@dataclass(frozen=True)
class StrategyJob:
    """What a strategy is made of. `capacity` is None where no load was stated; `rate_rps` is the whole load, 0 where it is not known.
    `overrides` are the user's values by key. `is_lossy_allowed`: the promise lets compressed candidates be taken.
    """

    preset: Preset | None = None
    needs: tuple[Need, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    capacity: CapacityPlan | None = None
    rate_rps: float = 0.0
    overrides: Mapping[str, Value] = field(default_factory=dict)
    is_lossy_allowed: bool = False


def decide_strategy(job: StrategyJob) -> Strategy:
    """Return the strategy; equal arguments give equal strategies."""
    draft = _Draft()
    # 1. What the trade and the needs bring.
    needs = tuple(need for need in Need if need in {*job.needs, *(job.preset.needs if job.preset else ())})
    if job.preset is not None:
        draft.lay(job.preset.rules, f"scenario {job.preset.scenario.value}")
    for need in needs:
        draft.lay(NEEDS[need], f"need {need.value}")
    # 2. What the user says.
    for key, value in job.overrides.items():
        draft.override(key, value)
    # 3. What follows, wherever the user has not spoken.
    _follow_promise(job, draft)
    _follow_capacity(job, draft)
    _follow_rollout(job, draft)
    _check(draft)
    strategy = Strategy(job.preset.scenario if job.preset else None, needs, reasons=draft.reasons, notes=tuple(draft.notes))
    for section, kind in SECTIONS.items():
        values = {item.name: draft.values[f"{section}.{item.name}"] for item in dataclasses.fields(kind)}
        strategy = dataclasses.replace(strategy, **{section: kind(**values)})
    return strategy


def shown(value: Value) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f"{item:g}" if isinstance(item, float) else item for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Draft:
    """Values by key while they are decided, with the reason of each."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = dict(KEYS)
        self.reasons: dict[str, Reason] = dict.fromkeys(KEYS, _DEFAULT)
        self.notes: list[str] = []

    def lay(self, rules: Sequence[StrategyRule], origin: str) -> None:
        """Lay rules over what is there, but not over what the user says, nor a weaker protection over a stricter one; a rule that changes
        another's choice says what that was.
        """
        for rule in rules:
            before = self.reasons[_known(rule.key, origin)]
            if before.origin == _OWN or self._is_weaker(rule.key, rule.value):
                continue
            if before.origin == _DEFAULT.origin:
                reason = Reason(rule.because, origin)
            elif self.values[rule.key] == rule.value:
                reason = Reason(before.text, f"{before.origin}, {origin}")
            else:
                reason = Reason(f"{rule.because} (instead of {shown(self.values[rule.key])}: {before.origin})", origin)
            self.values[rule.key], self.reasons[rule.key] = rule.value, reason

    def set(self, key: str, value: Value, because: str, origin: str) -> None:
        """Lay one rule."""
        self.lay([StrategyRule(key, value, because)], origin)

    def add(self, key: str, name: str, because: str, origin: str) -> None:
        """Add a name to a list of names."""
        names, before = self.names(key), self.reasons[key]
        if before.origin == _OWN or name in names:
            return
        is_first = before.origin == _DEFAULT.origin
        self.values[key] = (*names, name)
        self.reasons[key] = Reason(
            because if is_first else f"{before.text}; {because}", origin if is_first else f"{before.origin}, {origin}"
        )

    def override(self, key: str, value: Value) -> None:
        """Take the user's value; where it is weaker than what a scenario or a need asks for, say so."""
        before, asked = self.reasons[_known(key, _OWN)], self.values[key]
        if self._is_weaker(key, value):
            self.notes.append(f"{key} is {shown(value)} because you say so; {before.origin} asks for {shown(asked)}: {before.text}")
        self.values[key], self.reasons[key] = value, Reason("you say so", _OWN)

    def _is_weaker(self, key: str, value: Value) -> bool:
        """Whether `value` protects less than what a scenario or a need asked for."""
        is_asked = self.reasons[key].origin != _DEFAULT.origin
        return key.startswith(_GUARDED) and is_asked and _strictness(key, value) < _strictness(key, self.values[key])

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names."""
        value = self.values[key]
        return tuple(str(item) for item in value) if isinstance(value, tuple) else ()

    def shares(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        value = self.values[key]
        return tuple(float(item) for item in value) if isinstance(value, tuple) else ()

    def number(self, key: str) -> float:
        """Return a number."""
        value = self.values[key]
        return float(value) if isinstance(value, int | float) else 0.0


def _known(key: str, origin: str) -> str:
    if key not in KEYS:
        raise SpecError(f"{origin}: there is no strategy key '{key[:64]}'.", hint=f"Known: {', '.join(KEYS)}.")
    return key


def _strictness(key: str, value: Value) -> float:
    if key in _STRICTNESS:
        return float(_STRICTNESS[key].index(value))
    return float(value) if isinstance(value, bool | int | float) else 0.0


def _follow_promise(job: StrategyJob, draft: _Draft) -> None:
    """What is promised is gated and watched; waiting for company stays small beside a promised latency."""
    timed = [item for item in job.requirements if item.kind is MetricKind.LATENCY]
    quality = [item for item in job.requirements if item.kind is MetricKind.QUALITY]
    if timed:
        draft.add("rollout.gates", timed[0].metric, f"'{timed[0]}' has to hold for a new version too", f"requirement {timed[0]}")
    for item in quality[:1]:
        draft.add("rollout.gates", item.metric, f"'{item}' has to hold where right answers come in", f"requirement {item}")
        draft.add("watch.metrics", "quality", f"'{item}' is measured on as far as right answers come in", f"requirement {item}")
    if job.is_lossy_allowed:
        draft.add("rollout.gates", "disagreement", "a compressed model may decide otherwise than the one before", "the promise")
        if draft.reasons["watch.twin_ratio"].origin == _DEFAULT.origin:
            because = "one request in a hundred goes to the original as well: what compression costs stays known"
            draft.set("watch.twin_ratio", 0.01, because, "the promise")
    if timed and job.capacity is None:
        tightest = min(timed, key=lambda item: item.bound)
        if draft.number("batching.delay_ms") > _WAIT_RATIO * tightest.bound:
            because = f"waiting for company may take a tenth of the {tightest.bound:g} ms that are promised"
            draft.set("batching.delay_ms", _WAIT_RATIO * tightest.bound, because, f"requirement {tightest}")


def _follow_capacity(job: StrategyJob, draft: _Draft) -> None:
    """Where a load was sized, requests are joined as it was sized, unless a scenario or a need says otherwise."""
    if job.capacity is None:
        return
    because = f"sized for {job.rate_rps:,.10g} requests/s by this model's times"
    shape = job.capacity.shape
    for key, value in (("batching.rows_limit", shape.batch_rows_limit), ("batching.delay_ms", shape.batch_delay_ms)):
        if draft.reasons[key].origin == _DEFAULT.origin:
            draft.set(key, value, because, "capacity")


def _follow_rollout(job: StrategyJob, draft: _Draft) -> None:
    """Steps fit the kind of roll-out, and are large enough to show something within a day; where none is, it is said."""
    kind = draft.values["rollout.kind"]
    if kind is RolloutKind.BLUE_GREEN:
        if draft.shares("rollout.steps"):
            draft.set("rollout.steps", (), "blue-green takes all traffic at once", draft.reasons["rollout.kind"].origin)
        return
    if not draft.shares("rollout.steps"):
        draft.set("rollout.steps", _USUAL_STEPS, "what goes wrong goes wrong for one request in a hundred first", "default")
    if kind is RolloutKind.SHADOW and not draft.number("rollout.shadow_ratio"):
        draft.set("rollout.shadow_ratio", _USUAL_SHADOW, "a fifth of the traffic shows rare decisions within days", "default")
    if not job.rate_rps or draft.shares("rollout.steps")[:1] >= (_ENOUGH_REQUESTS / (job.rate_rps * _SECONDS_PER_DAY),):
        return
    needed = _ENOUGH_REQUESTS / (job.rate_rps * _SECONDS_PER_DAY)
    large = [share for share in _SHARES if share >= needed]
    because = f"at {job.rate_rps:,.10g} requests/s a smaller share sees fewer than {_ENOUGH_REQUESTS:,} requests a day"
    if large:
        kept = (large[0], *(share for share in draft.shares("rollout.steps") if share > large[0]))
        draft.set("rollout.steps", kept, because, "load")
        return
    draft.set("rollout.steps", _SHARES[-1:], because, "load")
    draft.notes.append(
        f"{job.rate_rps:,.10g} requests/s are {job.rate_rps * _SECONDS_PER_DAY:,.0f} a day: no share of them tells two versions apart "
        "within a day; a step takes longer, or golden requests decide instead"
    )


def _check(draft: _Draft) -> None:
    """Raise SpecError where the user's values contradict each other."""
    shares = draft.shares("rollout.steps")
    if list(shares) != sorted(set(shares)) or any(not 0 < share < 1 for share in shares):
        raise SpecError(f"rollout.steps are {shown(shares)}.", hint="Give growing shares between 0 and 1: [0.01, 0.1, 0.5].")
    kind = draft.values["rollout.kind"]
    if kind is RolloutKind.BLUE_GREEN and shares:
        raise SpecError("A blue-green roll-out has no steps.", hint="Leave out rollout.steps, or say rollout: {kind: canary}.")
    if kind is not RolloutKind.BLUE_GREEN and not shares:
        raise SpecError(f"A {kind} roll-out needs steps.", hint="Give them: rollout: {steps: [0.01, 0.1, 0.5]}.")
    if kind is RolloutKind.SHADOW and not draft.number("rollout.shadow_ratio"):
        raise SpecError("A shadow roll-out needs a share of the traffic.", hint="Give it: rollout: {shadow_ratio: 0.2}.")
    fast, slow = draft.number("watch.fast_window_s"), draft.number("watch.slow_window_s")
    if fast >= slow:
        raise SpecError(f"watch.fast_window_s ({fast:g}) is not below watch.slow_window_s ({slow:g}).", hint="Usual: 300 and 3600.")
