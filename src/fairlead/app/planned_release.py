"""How a version's own plan wants it released: from the strategy that `deploy` kept with it to what `promote` does.

Takes a reference and a House; gives a PlannedRelease, None for a version that was registered without a strategy. Raises NotFoundError and
SpecError for the reference, CorruptError for a damaged version. Begins nothing. What the strategy asks for and a release cannot do is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.release_checks import named_version
from fairlead.app.release_spec import STEP_TIME_S, gate_of
from fairlead.app.wiring import House
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.gate import ALPHA, GateSpec, parse_gate
from fairlead.core.release import ReleaseKind, ReleaseStep, percent
from fairlead.core.release_text import canary_steps
from fairlead.core.strategy import KEYS, RolloutKind, Strategy
from fairlead.core.version import PRODUCTION, Version
from fairlead.errors import SpecError
from fairlead.register.approval import protection
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

STRATEGY_FILE = "strategy.json"


@dataclass(frozen=True)
class PlannedValue:
    """One thing that the plan says of a release: the option that says the same, why, and where that comes from ("scenario finance")."""

    option: str
    because: str
    origin: str


@dataclass(frozen=True)
class PlannedRelease:
    """`request` is what to begin; `values` are its options with their reasons, `notes` what a release cannot do of the plan, and why."""

    request: ReleaseRequest
    values: tuple[PlannedValue, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_at_once(self) -> bool:
        """Whether the alias simply moves, once servers are ready."""
        return self.request.kind is ReleaseKind.BLUE_GREEN

    @property
    def options(self) -> str:
        """The options as one types them; "" where it goes at once."""
        return " ".join(value.option for value in self.values)


def planned_release(reference: str, house: House, *, alias: str = PRODUCTION) -> PlannedRelease | None:
    """Return how the plan of the version that `reference` names wants it taken to `alias`."""
    version = named_version(reference, house)
    if all(entry.name != STRATEGY_FILE for entry in version.manifest.files):
        return None
    strategy = load(read_file(version, STRATEGY_FILE, house.blobs), Strategy)
    notes = list(_beside(strategy))
    if strategy.security.is_approver_required and protection(version.name, records=house.records) is None:
        notes.append(f"the plan asks that somebody else approves of a version: fairlead protect {version.name}")
    live = house.records.aliases(version.name).get(alias, 0)
    if live in {0, version.number} or strategy.rollout.kind is RolloutKind.BLUE_GREEN:
        return PlannedRelease(_at_once(reference, alias), notes=(*_why_at_once(strategy, live, alias), *_unwatched(strategy), *notes))
    return _by_steps(strategy, version, ReleaseRequest(ReleaseKind.CANARY, reference, alias), notes)


def _at_once(reference: str, alias: str) -> ReleaseRequest:
    return ReleaseRequest(ReleaseKind.BLUE_GREEN, reference, alias, (ReleaseStep(),))


def _why_at_once(strategy: Strategy, live: int, alias: str) -> list[str]:
    kind = strategy.rollout.kind
    if kind is RolloutKind.BLUE_GREEN:
        return []
    what = "is this version already" if live else "is none yet"
    return [f"the plan asks for a {kind.value}, but what is live at @{alias} {what}: there is nothing to compare it with"]


def _unwatched(strategy: Strategy) -> list[str]:
    """What only a release by steps can do."""
    notes = []
    if strategy.rollout.gates != KEYS["rollout.gates"]:
        notes.append(f"at once: no gate tests {', '.join(strategy.rollout.gates)}; --canary does")
    if strategy.watch.twin_ratio:
        share = f"{strategy.watch.twin_ratio:g}"
        notes.append(f"after a release, the original answers as servers are told to: FAIRLEAD_TWIN_SHARE={share}")
    return notes


def _beside(strategy: Strategy) -> list[str]:
    """What is no option of a release, but a setting of the servers."""
    keep_warm_s = strategy.rollout.keep_warm_s
    is_usual = keep_warm_s == KEYS["rollout.keep_warm_s"]
    return [] if is_usual else [f"how long the version before stays ready is a setting of servers: FAIRLEAD_KEEP_WARM_S={keep_warm_s:g}"]


def _by_steps(strategy: Strategy, version: Version, request: ReleaseRequest, notes: list[str]) -> PlannedRelease:
    """A canary, with a shadow before it where the plan asks for one."""
    rollout, values = strategy.rollout, []

    def say(option: str, key: str) -> None:
        reason = strategy.reasons[key]
        values.append(PlannedValue(option, reason.text, reason.origin))

    steps = canary_steps(rollout.steps)
    shadow = (ReleaseStep(0.0, rollout.shadow_ratio),) if rollout.kind is RolloutKind.SHADOW else ()
    if shadow:
        say(f"--shadow {percent(rollout.shadow_ratio)}", "rollout.shadow_ratio")
    say(f'--canary "{",".join(percent(step.share) for step in steps)}"', "rollout.steps")
    gate = _gate(strategy, notes)
    if gate is not None:
        say(f'--gate "{gate}"', "rollout.gates")
        if gate.alpha != ALPHA:
            say(f"--alpha {gate.alpha:g}", "rollout.alpha")
    twin_share = strategy.watch.twin_ratio
    if twin_share and all(entry.name != TWIN_FILE for entry in version.manifest.files):
        notes.append(f"{version.label} loses nothing: there is no original beside it that could answer {percent(twin_share)} too")
        twin_share = 0.0
    if twin_share:
        say(f"--twin {percent(twin_share)}", "watch.twin_ratio")
    if not rollout.is_automatic:
        say("--hold", "rollout.is_automatic")
    found = ReleaseRequest(
        request.kind,
        request.reference,
        request.alias,
        steps=(*shadow, *steps),
        gate=gate or gate_of(None, request.kind, alpha=rollout.alpha),
        min_step_s=STEP_TIME_S,
        twin_share=twin_share,
        is_held=not rollout.is_automatic,
    )
    return PlannedRelease(found, tuple(values), tuple(notes))


def _gate(strategy: Strategy, notes: list[str]) -> GateSpec | None:
    """The plan's gate, without what a gate cannot measure, which is said."""
    known = []
    for name in strategy.rollout.gates:
        try:
            parse_gate(name)
        except SpecError as error:
            notes.append(f"the gate leaves out '{name}', which the plan names: {error.message}")
        else:
            known.append(name)
    return parse_gate(", ".join(known), strategy.rollout.alpha) if known else None
