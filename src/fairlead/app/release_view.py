"""What a person sees of releases: how one stands, what was decided when and why, and a person's word to a running one.

Takes names and a House; gives plain frozen values that the front doors print. Raises NotFoundError, ConflictError, SpecError, StorageError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fairlead.app.release_outlook import Assessor, comparison_of
from fairlead.app.servers import WAIT_S, Followed, wait_for_servers
from fairlead.app.wiring import House
from fairlead.core.evidence import StepEvidence
from fairlead.core.gate import ArmsComparison, GateDecision
from fairlead.core.release import Basis, Release, ReleaseEvent, ReleaseKind
from fairlead.core.version import PRODUCTION, AliasMove, Reference, check_alias
from fairlead.errors import ConflictError, NotFoundError, SpecError
from fairlead.register import promotion
from fairlead.register.promotion import Kept
from fairlead.register.release import advanced, chosen, held, resumed, stopped, waits_for
from fairlead.register.resolve import resolve

_WORDS: dict[str, Callable[..., Release]] = {"hold": held, "resume": resumed, "stop": stopped, "advance": advanced}
WORDS = tuple(_WORDS)


@dataclass(frozen=True)
class ServerLine:
    """A living server, and why it does not follow yet ("" where it does)."""

    label: str
    problem: str


@dataclass(frozen=True)
class ReleaseView:
    """A release, the evidence of its present step, what the gate says, what it waits for, and an experiment's arms compared. `followed`
    says who has followed its end, where that was waited for.
    """

    release: Release
    evidence: StepEvidence
    decision: GateDecision | None
    comparison: ArmsComparison | None
    waits_for: str
    step_age_s: float
    servers: tuple[ServerLine, ...]
    followed: Followed | None = None


@dataclass(frozen=True)
class Told:
    """What a person's word made of a release; `followed` where that ended it: no request that begins now meets what a server that has
    followed gave up. None where the release goes on.
    """

    release: Release
    followed: Followed | None = None


@dataclass(frozen=True)
class Entry:
    """Something that happened to a model, in the registry's order: an alias's move, or a release's event."""

    sequence: int
    at: float
    move: AliasMove | None = None
    event: ReleaseEvent | None = None
    release: Release | None = None


def view(name: str, house: House) -> ReleaseView:
    """Return how the model's release stands; the last one where none runs."""
    return view_of(_current(name, house), Assessor(house.records, house.clock))


def watch(name: str, house: House, *, interval_s: float = 1.0, wait_s: float = WAIT_S) -> Iterator[ReleaseView]:
    """Yield how the model's release stands, at least that often and whenever something changes. Once it has ended that is yielded at once,
    and a last time when the living servers have `followed`, or `wait_s` is over.
    """
    assessor = Assessor(house.records, house.clock)
    while True:
        kept = _current(name, house)
        seen = view_of(kept, assessor)
        yield seen
        if not kept.release.is_active:
            yield replace(seen, followed=_followed(kept, house, wait_s))
            return
        house.records.wait_for_change(kept.sequence, interval_s)


def _current(name: str, house: House) -> Kept:
    resolve(Reference(name), records=house.records)
    kept = promotion.current(name, records=house.records)
    if kept is None:
        raise NotFoundError(f"There was no release of {name} yet.", hint=f"Begin one: fairlead promote {name}:2 --canary 10%,50%.")
    return kept


def view_of(kept: Kept, assessor: Assessor) -> ReleaseView:
    """Return how a release stands, as `assessor` knows it."""
    found = assessor.assess(kept)
    release = kept.release
    servers = tuple(
        ServerLine(
            beat.label,
            "" if beat.has_caught_up(release.name, kept.sequence) else beat.applied[release.name].problem or "has not looked at it yet",
        )
        for beat in found.servers
    )
    return ReleaseView(
        release,
        found.evidence.step(release.step),
        found.outlook.decision,
        comparison_of(release, found.evidence),
        waits_for(release, found.outlook) if servers else _nobody(release),
        found.outlook.step_age_s,
        servers,
    )


def _nobody(release: Release) -> str:
    return f"No server runs that serves {release.name}@{release.alias}: nobody counts, and nobody decides." if release.is_active else ""


def say(name: str, word: str, house: House, *, wait_s: float = WAIT_S) -> Told:
    """Do as a person says to the running release: hold, resume, stop or advance. Where that ends it, living servers are waited for."""
    if word not in _WORDS:
        raise SpecError(f"'{word[:32]}' is nothing that a release does.", hint=f"Say one of: {', '.join(WORDS)}.")
    become = _WORDS[word]

    def said(release: Release) -> Release:
        if word in {"hold", "resume"}:
            return become(release, now=house.clock(), author=house.settings.user)
        return become(release, now=house.clock(), author=house.settings.user, basis=_basis(name, house))

    return _told(_change(name, said, house), house, wait_s)


def choose(name: str, arm: str, house: House, *, wait_s: float = WAIT_S) -> Told:
    """End the running experiment with one of its arms, which becomes the live version. Living servers are waited for."""

    def become(release: Release) -> Release:
        return chosen(release, arm, now=house.clock(), author=house.settings.user, basis=_basis(name, house))

    return _told(_change(name, become, house), house, wait_s)


def _change(name: str, become: Callable[[Release], Release], house: House) -> Kept:
    resolve(Reference(name), records=house.records)
    return promotion.change(name, become, records=house.records, clock=house.clock, author=house.settings.user)


def _told(kept: Kept, house: House, wait_s: float) -> Told:
    return Told(kept.release, None if kept.release.is_active else _followed(kept, house, wait_s))


def _followed(kept: Kept, house: House, wait_s: float) -> Followed:
    return wait_for_servers(kept.release.name, kept.sequence, records=house.records, now=house.clock, wait_s=wait_s)


def _basis(name: str, house: House) -> Basis | None:
    seen = view(name, house)
    estimates = seen.comparison.estimates if seen.comparison is not None else ()
    findings = seen.decision.findings if seen.decision is not None else ()
    return Basis(findings, estimates) if findings or estimates else None


def history(name: str, house: House, *, alias: str = PRODUCTION) -> tuple[Entry, ...]:
    """Return everything that happened to `alias` of the model and to its releases, in the order in which the registry took it."""
    resolve(Reference(name), records=house.records)
    moves = [Entry(move.sequence, move.moved_at, move=move) for move in house.records.alias_history(name, check_alias(alias))]
    events = [
        Entry(sequence, event.at, event=event, release=release)
        for release, event, sequence in promotion.events(name, records=house.records)
        if release.alias == alias
    ]
    return tuple(sorted([*moves, *events], key=lambda entry: entry.sequence))


def require_experiment(name: str, house: House) -> None:
    """Raise ConflictError unless the release that runs, or ran last, is an experiment."""
    kept = promotion.current(name, records=house.records)
    if kept is not None and kept.release.kind is not ReleaseKind.EXPERIMENT:
        what = promotion.describe(kept.release)
        last = f"{what} runs." if kept.release.is_active else f"The last release was {what[0].lower()}{what[1:]}."
        raise ConflictError(f"No experiment of {name} runs. {last}", hint=f"See: fairlead release {name}.")
