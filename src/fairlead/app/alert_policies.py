"""What is done about alerts without asking: roll back, roll back and watch unseen, train again.

`act` takes alerts and a House; gives what every policy did. Laws: only alerts about the live version count; what fired before a policy
acted is not acted upon again by it; a policy pauses for a model after it has acted, whoever runs it (compare-and-set); while a version
takes over, it waits, since that may be the cure and has a gate of its own. Never raises for what an action could not do: it is said, kept
in the registry, and a person decides. Raises StorageError where the registry is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from fairlead.app.alert_records import ACTION, claim_action, everything
from fairlead.app.release import rollback
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.retraining import retrain
from fairlead.app.wiring import House
from fairlead.core.alert import Alert, Policy, PolicyAction
from fairlead.core.release import ReleaseKind, ReleaseStep
from fairlead.core.version import PRODUCTION
from fairlead.errors import ConflictError, FairleadError, RejectedError, StorageError
from fairlead.monitor.alerts.machine import firing
from fairlead.register import promotion
from fairlead.stores.document import dump, load

SLOW = frozenset({PolicyAction.RETRAIN})  # takes hours
_WAIT_S = 30.0


@dataclass(frozen=True)
class Acted:
    """What a policy did about an alert at `at` (Unix seconds): `outcome` is a sentence, `problem` why it could not ("": it could)."""

    policy: str
    action: PolicyAction
    model: str
    version: str
    alert: str
    at: float
    outcome: str = ""
    problem: str = ""


def act(
    alerts: Iterable[Alert], house: House, actions: Collection[PolicyAction] = tuple(PolicyAction), *, stop: threading.Event | None = None
) -> tuple[Acted, ...]:
    """Do what policies say about the alerts that fire, as far as it is one of `actions`; `stop` ends training."""
    policies = [policy for policy in everything(Policy, house.records) if policy.action in actions]
    found = []
    for alert in firing(alerts):
        for policy in policies:
            is_wanted = policy.wants(alert.labels) and alert.fired_at >= policy.created_at
            if is_wanted and _is_live(alert, house) and not _is_to_wait(policy, alert, house):
                acted = _once(policy, alert, house, stop)
                if acted is not None:
                    found.append(acted)
    return tuple(found)


def done(house: House) -> tuple[Acted, ...]:
    """Return what each policy did last for each model, the newest first."""
    facts = [load(fact.body.encode(), Acted) for fact in house.records.facts(ACTION) if fact.body is not None]
    return tuple(sorted(facts, key=lambda one: -one.at))


def _is_live(alert: Alert, house: House) -> bool:
    name = alert.labels.get("model", "")
    return bool(name) and alert.labels.get("version") == str(house.records.aliases(name).get(PRODUCTION, 0))


def _is_to_wait(policy: Policy, alert: Alert, house: House) -> bool:
    """Whether a release runs that the action would end, or that would keep it from beginning its own."""
    kept = promotion.current(alert.labels["model"], records=house.records)
    if kept is None or not kept.release.is_active:
        return False
    return policy.action is PolicyAction.RETRAIN or kept.release.kind in (ReleaseKind.CANARY, ReleaseKind.BLUE_GREEN)


def _once(policy: Policy, alert: Alert, house: House, stop: threading.Event | None) -> Acted | None:
    """Act, unless it was done already, or not long ago."""
    model, now = alert.labels["model"], house.clock()
    key = f"{policy.id}/{model}"
    before = house.records.fact(ACTION, key)
    if before is not None and before.body is not None:
        last = load(before.body.encode(), Acted)
        if alert.fired_at <= last.at:
            return None
        if 0 <= now - last.at < policy.pause_s:
            return None
    begun = Acted(policy.id, policy.action, model, alert.labels.get("version", ""), alert.fingerprint, now, problem="It has not ended yet.")
    claimed = claim_action(key, dump(begun).decode(), before, house.records, at=now, author=policy.author)
    if claimed is None:
        return None
    ended = _do(policy, alert, begun, house, stop)
    claim_action(key, dump(ended).decode(), claimed, house.records, at=house.clock(), author=policy.author)
    return ended


def _do(policy: Policy, alert: Alert, begun: Acted, house: House, stop: threading.Event | None) -> Acted:
    def said(outcome: str = "", problem: str = "") -> Acted:
        return Acted(begun.policy, begun.action, begun.model, begun.version, begun.alert, begun.at, outcome, problem)

    actions: Mapping[PolicyAction, Callable[[Policy, Alert, House], str]] = {
        PolicyAction.ROLL_BACK: _roll_back,
        PolicyAction.SHADOW: _shadow,
        PolicyAction.RETRAIN: partial(retrain, stop=stop),
    }
    try:
        return said(outcome=actions[policy.action](policy, alert, house))
    except StorageError:
        raise
    except FairleadError as error:
        return said(problem=str(error))


def _roll_back(_policy: Policy, alert: Alert, house: House) -> str:
    name = alert.labels["model"]
    _require_live(alert, house)
    outcome = rollback(name, house, wait_s=_WAIT_S, is_further=True)
    if outcome.number == outcome.previous:  # that ended a shadow or an experiment
        outcome = rollback(name, house, wait_s=_WAIT_S, is_further=True)
    return f"Took {name} back from version {outcome.previous} to {outcome.number}."


def _shadow(policy: Policy, alert: Alert, house: House) -> str:
    """Take it back, and let it answer every request unseen: what it would have said can be looked at."""
    name, version = alert.labels["model"], alert.labels["version"]
    said = _roll_back(policy, alert, house)
    if house.records.aliases(name).get(PRODUCTION) == int(version):
        raise ConflictError(f"{name}:{version} is live still, so it cannot be watched unseen.", hint=f"See: fairlead history {name}.")
    begin(ReleaseRequest(ReleaseKind.SHADOW, f"{name}:{version}", steps=(ReleaseStep(shadow=1.0),), min_step_s=policy.pause_s), house)
    return f"{said} Version {version} answers unseen beside it."


def _require_live(alert: Alert, house: House) -> None:
    name, version = alert.labels["model"], alert.labels.get("version", "")
    live = house.records.aliases(name).get(PRODUCTION, 0)
    if version != str(live):
        raise RejectedError(f"{name}:{version} is not live any more ({name}:{live} is), so there is nothing to take back.")
