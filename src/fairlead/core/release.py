"""A release: how a version takes over from the live one, step by step, and all that was decided on the way. Pure values and their laws.

Gives the TrafficPlan that servers follow. Raises SpecError (`check_release`) for a release that cannot run.

Laws: the candidate's share grows from step to step; a release that has ended directs no traffic; what was decided is kept in its log with
the numbers that it was decided on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from fairlead.core.gate import ArmEstimate, Finding, GateSpec
from fairlead.core.traffic import CANDIDATE, LIVE, Arm, Segment, Shadow, TrafficPlan
from fairlead.core.version import PRODUCTION, check_alias, check_name
from fairlead.errors import SpecError

_EVENT_COUNT = 200  # a release has a few dozen; a person who holds and resumes all day has no more than these


class ReleaseKind(enum.StrEnum):
    """How a version takes over."""

    BLUE_GREEN = "blue-green"  # once every server has it loaded and warm, all at once
    CANARY = "canary"  # by growing shares, then all
    SHADOW = "shadow"  # its answers are compared with the live ones and never given
    EXPERIMENT = "experiment"  # fixed shares, until a person chooses


class ReleaseStatus(enum.StrEnum):
    """Where a release stands. The first three direct traffic, the others have ended."""

    RUNNING = "running"
    HELD = "held"  # a person said so: it does not go on, and still goes back where the gate says so
    PROMOTING = "promoting"  # decided; the alias may not have moved yet
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"  # the gate said so, or a person took the candidate back
    STOPPED = "stopped"  # a person said so, or the alias was moved by hand
    FINISHED = "finished"  # a shadow's time is over, or the live arm of an experiment was chosen


ACTIVE = frozenset({ReleaseStatus.RUNNING, ReleaseStatus.HELD, ReleaseStatus.PROMOTING})


@dataclass(frozen=True)
class ReleaseStep:
    """The candidate answers `share` of the requests, and `shadow` of them unseen besides."""

    share: float = 0.0
    shadow: float = 0.0

    @property
    def text(self) -> str:
        """As a person writes it: `10%`, `shadow 20%`."""
        parts = [percent(self.share)] if self.share or not self.shadow else []
        return " and ".join([*parts, *([f"shadow {percent(self.shadow)}"] if self.shadow else [])])


@dataclass(frozen=True)
class Basis:
    """The numbers that something was decided on: `findings` of the gate, `estimates` of an experiment's arms."""

    findings: tuple[Finding, ...] = ()
    estimates: tuple[ArmEstimate, ...] = ()


@dataclass(frozen=True)
class ReleaseEvent:
    """What happened to a release at `at` (Unix seconds) in `step`, by whom ("gate" for itself), and the numbers that it was decided on."""

    at: float
    step: int
    status: ReleaseStatus
    sentence: str
    author: str
    basis: Basis = Basis()


@dataclass(frozen=True)
class Release:
    """One release of a model. `live` and `candidate` are version numbers; an experiment has `arms` instead of a candidate until one is
    chosen, a canary and a shadow have `steps`. `live_move` is the sequence of the alias's move that made the live version live. A step
    lasts `min_step_s` at least (a shadow alone: that long). `started_at` and `step_started_at` are Unix seconds of whoever wrote them;
    nothing is ordered by them.
    """

    id: str
    name: str
    kind: ReleaseKind
    live: int
    candidate: int = 0
    alias: str = PRODUCTION
    live_move: int = 0
    steps: tuple[ReleaseStep, ...] = ()
    arms: tuple[Arm, ...] = ()
    gate: GateSpec | None = None
    min_step_s: float = 0.0
    sticky: str = ""
    segments: tuple[Segment, ...] = ()
    twin_share: float = 0.0
    status: ReleaseStatus = ReleaseStatus.RUNNING
    step: int = 0
    author: str = ""
    started_at: float = 0.0
    step_started_at: float = 0.0
    log: tuple[ReleaseEvent, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether it directs traffic."""
        return self.status in ACTIVE

    @property
    def decided_by(self) -> str:
        """Who made it what it is now."""
        return self.log[-1].author if self.log else self.author

    @property
    def is_last_step(self) -> bool:
        """Whether nothing but the promotion (or, for a shadow alone, the end) comes after this step."""
        return self.step >= len(self.steps) - 1

    @property
    def tried(self) -> tuple[str, ...]:
        """The arms that are compared with the first one, by name."""
        return tuple(arm.name for arm in self.arms[1:]) if self.arms else (CANDIDATE,)

    @property
    def control(self) -> str:
        """The name of the arm that the others are compared with."""
        return self.arms[0].name if self.arms else LIVE

    def in_use(self) -> tuple[int, ...]:
        """Return the numbers of the versions that it needs, the live one first; none once it has ended."""
        tried = tuple(arm.version for arm in self.arms) if self.arms else (self.candidate,)
        return tuple(dict.fromkeys((self.live, *tried))) if self.is_active else ()

    def traffic(self) -> TrafficPlan | None:
        """Return how servers split requests; None for a release that has ended."""
        if not self.is_active:
            return None
        at = self.steps[self.step] if self.steps else ReleaseStep()
        share = 1.0 if self.status is ReleaseStatus.PROMOTING else at.share
        arms = self.arms or (Arm(LIVE, self.live, 1.0 - share), Arm(CANDIDATE, self.candidate, share))
        if self.arms and self.status is ReleaseStatus.PROMOTING:
            arms = tuple(replace(arm, share=float(arm.version == self.candidate)) for arm in self.arms)
        shadow = Shadow(self.candidate, at.shadow) if at.shadow and self.status is not ReleaseStatus.PROMOTING else None
        return TrafficPlan(
            release=self.id,
            step=self.step,
            arms=arms,
            sticky=self.sticky,
            segments=() if self.status is ReleaseStatus.PROMOTING else self.segments,
            shadow=shadow,
            twin_share=self.twin_share,
            salt=self.id,
        )

    def with_event(
        self, at: float, sentence: str, author: str, basis: Basis | None = None, *, status: ReleaseStatus | None = None
    ) -> Release:
        """Return the release with `status` (the same one unless given) and with that entry at the end of its log."""
        event = ReleaseEvent(at, self.step, status or self.status, sentence, author, basis or Basis())
        return replace(self, status=event.status, log=(*self.log, event)[-_EVENT_COUNT:])


def percent(share: float) -> str:
    """Return a share as a person writes it: 0.01 is `1%`."""
    return f"{share * 100:.6g}%"


def check_release(release: Release) -> Release:
    """Return `release` if it is one that can run; raises SpecError."""
    check_name(release.name)
    check_alias(release.alias)
    if not release.live:
        raise SpecError(
            f"{release.name}@{release.alias} points at nothing, so there is nothing to compare with.",
            hint="The first version needs no canary: promote it without one.",
        )
    if release.kind is ReleaseKind.EXPERIMENT:
        if not release.arms or release.arms[0].version != release.live:
            raise SpecError(
                f"No arm is the live version {release.name}:{release.live}.",
                hint=f"Give it an arm, e.g. A={release.live}:50.",
            )
    elif release.candidate == release.live:
        raise SpecError(f"{release.name}:{release.candidate} is live already.", hint=f"See: fairlead show {release.name}.")
    elif not release.steps:
        raise SpecError("A release needs a step.", hint='Give --canary "1%,10%,50%" or --shadow 20%.')
    known = {arm.name for arm in release.arms} or {LIVE, CANDIDATE}
    for segment in release.segments:
        if segment.arm not in known:
            raise SpecError(f"There is no arm '{segment.arm[:32]}' for a segment.", hint=f"Arms: {', '.join(sorted(known))}.")
    if not 0 <= release.twin_share <= 1 or release.min_step_s < 0:
        raise SpecError("A share is between 0 and 1, and a step's time is not negative.")
    return release
