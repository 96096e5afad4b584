"""From alarms to findings: a sentence that a person understands, how much it matters, and what to do. Pure.

Takes the alarms of a span of time and the movements of its features; gives core Findings, the most serious first. An alarm is proven,
within the false-alarm budget; a movement is measured. Only what was proven becomes a finding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.core.finding import Advice, AdviceKind, Finding, FindingKind, Severity
from fairlead.core.profile import Profile
from fairlead.monitor.drift.alarm import Alarm, Aspect
from fairlead.monitor.drift.budget import WatchOptions
from fairlead.monitor.drift.joint import JOINT
from fairlead.monitor.drift.movement import Movement

_CRITICAL_COST, _WARNING_COST = 0.1, 0.02  # shares of answers that may be other ones
_MUCH = 0.3  # of the rows, where nobody knows what it costs


@dataclass(frozen=True)
class Scene:
    """What the findings are about: model, version, when it was watched from and to, and when its first rows came (-inf: before that)."""

    model: str
    version: int
    since: float
    until: float
    first_at: float = -math.inf


def findings_of(
    alarms: Sequence[Alarm],
    movements: Mapping[str, Movement],
    profile: Profile,
    scene: Scene,
    options: WatchOptions,
    *,
    joint_distance: float = math.nan,
) -> tuple[Finding, ...]:
    """Return one finding for each feature and aspect that raised an alarm, by what it may cost."""
    first: dict[tuple[str, Aspect], Alarm] = {}
    for alarm in alarms:
        first.setdefault((alarm.feature, alarm.aspect), alarm)
    answers = {item.name for item in profile.predictions}
    moved_inputs = any(name not in answers for name, _ in first)
    told = _Told(scene, options, answers, moved_inputs=moved_inputs)
    found = [told.one(alarm, movements[alarm.feature]) for alarm in first.values() if alarm.feature in movements]
    if (JOINT, Aspect.JOINT) in first and not any(item.kind is FindingKind.DRIFT for item in found):  # else it is explained by these
        found.append(told.joint(first[JOINT, Aspect.JOINT], joint_distance))
    return tuple(sorted(found, key=lambda item: (-item.severity.rank, -item.value, item.subject)))


@dataclass(frozen=True)
class _Told:
    scene: Scene
    options: WatchOptions
    answers: set[str]
    moved_inputs: bool

    def one(self, alarm: Alarm, moved: Movement) -> Finding:
        is_answer = alarm.feature in self.answers
        value, bound, sentence = _measured(alarm, moved, self.options, is_answer=is_answer)
        kind = FindingKind.DATA_QUALITY if alarm.aspect is not Aspect.SHAPE else FindingKind.DRIFT
        kind = FindingKind.PREDICTION_DRIFT if is_answer else kind
        severity = _severity(alarm, moved, value, is_answer=is_answer)
        cost = _cost(moved) if alarm.aspect is Aspect.SHAPE and not is_answer else ""
        return Finding(
            kind=kind,
            model=self.scene.model,
            version=self.scene.version,
            subject=alarm.feature if alarm.aspect is Aspect.SHAPE else f"{alarm.feature}.{alarm.aspect.value}",
            severity=severity,
            value=value,
            rows=moved.rows,
            since=alarm.since,
            until=self.scene.until,
            sentence=f"{sentence} since {_when(alarm.since)}.{cost}",
            bound=bound,
            interval=moved.interval if alarm.aspect is Aspect.SHAPE else None,
            advice=() if severity is Severity.INFO and kind is FindingKind.DRIFT else self._advice(alarm, is_answer=is_answer),
        )

    def joint(self, alarm: Alarm, distance: float) -> Finding:
        sentence = (
            f"The inputs hang together otherwise than at release since {_when(alarm.since)} (maximum mean discrepancy {distance:.3f}), "
            "though none of them alone is proven to have moved."
        )
        return Finding(
            kind=FindingKind.DRIFT,
            model=self.scene.model,
            version=self.scene.version,
            subject=JOINT,
            severity=Severity.WARNING,
            value=distance,
            rows=0,
            since=alarm.since,
            until=self.scene.until,
            sentence=sentence,
            bound=self.options.effect,
            advice=(self._retrain(alarm),),
        )

    def _advice(self, alarm: Alarm, *, is_answer: bool) -> tuple[Advice, ...]:
        name = alarm.feature
        from_start = alarm.since <= self.scene.first_at
        if alarm.aspect in (Aspect.MISSING, Aspect.OUTSIDE, Aspect.UNSEEN, Aspect.FRACTIONS) and not is_answer:
            return (Advice(AdviceKind.CHECK_SOURCE, f"Find out where '{name}' comes from and what changed there at {_when(alarm.since)}."),)
        if is_answer and not self.moved_inputs:
            why = "The answers changed and no input did"
            if from_start:
                said = f"{why}, since this version serves: compare it with the one before, or go back to it."
                return (Advice(AdviceKind.ROLL_BACK, said),)
            return (Advice(AdviceKind.CHECK_SOURCE, f"{why}: look at inputs that are not kept in the log, and at what calls the model."),)
        if from_start and not is_answer:  # answers that moved with the inputs need no source to be checked
            said = f"'{name}' never looked like the release's data: see whether training and production prepare it alike."
            return (Advice(AdviceKind.CHECK_SOURCE, said), self._retrain(alarm))
        return (self._retrain(alarm),)

    def _retrain(self, alarm: Alarm) -> Advice:
        return Advice(AdviceKind.RETRAIN, f"If the change is real and stays, train on rows since {_when(alarm.since)}, with their answers.")


def _measured(alarm: Alarm, moved: Movement, options: WatchOptions, *, is_answer: bool) -> tuple[float, float, str]:
    what = f"the answers' {alarm.feature}" if is_answer else f"'{alarm.feature}'"
    name = what[0].upper() + what[1:]
    if alarm.aspect is Aspect.SHAPE:
        gained = f" ({moved.gained})" if moved.gained else ""
        return moved.moved, options.effect, f"{name} moved: {_percent(moved.moved)} of the rows have other values than at release{gained}"
    value = {
        Aspect.MISSING: moved.missing,
        Aspect.OUTSIDE: moved.outside,
        Aspect.UNSEEN: moved.unseen,
        Aspect.FRACTIONS: moved.fractions,
    }[alarm.aspect]
    share = _percent(value)
    said = {
        Aspect.MISSING: f"is missing in {share} of the rows, at release in {_percent(moved.missing_before)},",
        Aspect.OUTSIDE: f"lies outside of the range that it had at release in {share} of the rows",
        Aspect.UNSEEN: f"has values that it never had at release in {share} of the rows",
        Aspect.FRACTIONS: f"was a whole number at release and is none in {share} of the rows",
    }[alarm.aspect]
    return value, options.values_effect, f"{name} {said}"


def _severity(alarm: Alarm, moved: Movement, value: float, *, is_answer: bool) -> Severity:
    cost = moved.cost
    if alarm.aspect is not Aspect.SHAPE and moved.use is not None and not is_answer:
        cost = value * moved.use
    if is_answer or cost is None:
        return Severity.CRITICAL if value >= _MUCH else Severity.WARNING
    return Severity.CRITICAL if cost >= _CRITICAL_COST else Severity.WARNING if cost >= _WARNING_COST else Severity.INFO


def _cost(moved: Movement) -> str:
    if moved.cost is None:
        return "" if moved.use is None else f" The model's use of it is {_percent(moved.use)}."
    return f" The model's use of it is {_percent(moved.use or 0.0)}: about {_percent(moved.cost)} of the answers may be other ones."


def _percent(share: float) -> str:
    return "an unknown share" if math.isnan(share) else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
