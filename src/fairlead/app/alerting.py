"""Watch models and keep their alerts: findings of quality, promises and drift, the state that follows, who is told, what policies do.

`evaluate` does one round and gives a Round; `keep_watch` does one after the other, and between them tells who did not take it at first.
Any number of processes may do so at once: the registry lets one of them win each change. What cannot be evaluated changes no alert and is
said as a problem. Raises StorageError where the registry is away (`keep_watch` waits until it is back), NotFoundError for a model that is
not registered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from fairlead.app.alert_delivery import Attempt, deliver
from fairlead.app.alert_policies import SLOW, Acted, act
from fairlead.app.alert_records import KeptAlert, LastLook, drop_alert, kept_alerts, put_alert, put_look, swap_alert
from fairlead.app.finders import FINDERS, Finder
from fairlead.app.wiring import House
from fairlead.core.alert import Alert, AlertPhase, PolicyAction, Signal
from fairlead.core.finding import Finding
from fairlead.core.version import PRODUCTION
from fairlead.errors import FairleadError, NotFoundError, StorageError
from fairlead.monitor.alerts.machine import changed, step, to_keep
from fairlead.monitor.alerts.rules import signals
from fairlead.register.resolve import require_name

SIGNAL_LIMIT = 1000  # of one model at once: the most severe count
TELL_S = 5.0  # between two rounds, who is to be told is told so often


@dataclass(frozen=True)
class Round:
    """What one round came to: the alerts as they stand, those whose phase changed, what was found, who was told, what policies did.
    `problems` say what could not be evaluated, and why.
    """

    at: float
    alerts: tuple[Alert, ...] = ()
    changed: tuple[Alert, ...] = ()
    findings: tuple[Finding, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    acted: tuple[Acted, ...] = ()
    problems: tuple[str, ...] = ()


def evaluate(
    house: House,
    names: Sequence[str] = (),
    *,
    finders: Sequence[Finder] = FINDERS,
    url: str = "",
    every_s: float = 0.0,
    actions: Collection[PolicyAction] = tuple(PolicyAction),
) -> Round:
    """Look at the models `names` (none: all in production) once, tell, and act as policies say, as far as it is one of `actions`. That it
    is done every `every_s` seconds (0: nobody knows) is kept.
    """
    found: list[Finding] = []
    problems: list[str] = []
    moved: list[Alert] = []
    for name in watched(house, names):
        looked = _look(name, house, finders)
        found += looked.findings
        problems += looked.problems
        moved += _advance(name, looked, house)
        put_look(LastLook(name, house.clock(), every_s), house.records)
    alerts = tuple(kept.alert for kept in kept_alerts(house.records).values())
    attempts, acted = deliver(alerts, house, url=url), act(alerts, house, actions)
    return Round(house.clock(), alerts, tuple(moved), tuple(found), attempts, acted, tuple(problems))


def keep_watch(
    house: House,
    names: Sequence[str],
    every_s: float,
    tell: Callable[[Round], None],
    *,
    is_stopped: Callable[[float], bool],
    finders: Sequence[Finder] = FINDERS,
    url: str = "",
) -> None:
    """Do one round every `every_s` seconds until `is_stopped(seconds)`, which waits that long, says so. What takes hours is done beside
    that: while a model is trained, alerts are looked at and told.
    """
    quick = tuple(action for action in PolicyAction if action not in SLOW)
    with _Beside(house) as beside:
        while True:
            next_at = time.monotonic() + every_s
            try:
                tell(evaluate(house, names, finders=finders, url=url, every_s=every_s, actions=quick))
            except StorageError as error:
                tell(Round(house.clock(), problems=(f"The registry is away: {error.message}",)))
            while True:
                with suppress(StorageError):  # the next round says so
                    _between(beside, house, tell, url)
                left_s = next_at - time.monotonic()
                if is_stopped(min(max(left_s, 0.0), TELL_S)):
                    return
                if left_s <= TELL_S:
                    break


def _between(beside: _Beside, house: House, tell: Callable[[Round], None], url: str) -> None:
    """Tell what is due by now (who did not take it before, an Alertmanager that forgets, what was silenced until now), and go on with what
    takes hours.
    """
    alerts = tuple(kept.alert for kept in kept_alerts(house.records).values())
    attempts = deliver(alerts, house, url=url)
    acted, problem = beside.go_on(alerts)
    if attempts or acted or problem:
        tell(Round(house.clock(), alerts, attempts=attempts, acted=acted, problems=(problem,) if problem else ()))


class _Beside:
    """Does what takes hours in a thread of its own, one thing after the other; use it as a context manager, whose end ends training."""

    def __init__(self, house: House) -> None:
        self._house, self._stop = house, threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="alerts-act")
        self._doing: Future[tuple[Acted, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def go_on(self, alerts: Sequence[Alert]) -> tuple[tuple[Acted, ...], str]:
        """Return what was done since, and what came in its way ("": nothing); begin what is to be done."""
        doing = self._doing
        if doing is not None and not doing.done():
            return (), ""
        self._doing = self._pool.submit(act, alerts, self._house, SLOW, stop=self._stop)
        try:
            return (doing.result() if doing is not None else ()), ""
        except StorageError as error:
            return (), f"What a policy did could not be kept: {error.message}"


def watched(house: House, names: Sequence[str]) -> tuple[str, ...]:
    """Return the models to look at: those that are named, or every one that is in production."""
    for name in names:
        require_name(name, records=house.records)
    return tuple(names) or tuple(name for name in house.records.names() if PRODUCTION in house.records.aliases(name))


@dataclass(frozen=True)
class _Looked:
    findings: tuple[Finding, ...]
    unknown: frozenset[str]  # kinds that could not be evaluated
    problems: tuple[str, ...]


def _look(name: str, house: House, finders: Sequence[Finder]) -> _Looked:
    found: list[Finding] = []
    unknown: set[str] = set()
    problems = []
    for finder in finders:
        try:
            found += finder.find(name, house)
        except StorageError:
            raise
        except NotFoundError:  # nothing is recorded, or nothing was kept at release: nothing to be said, now and before
            continue
        except FairleadError as error:
            unknown |= {kind.value for kind in finder.kinds}
            problems.append(f"{name}: {finder.name} cannot be evaluated: {error.message}")
    return _Looked(tuple(found), frozenset(unknown), tuple(problems))


def _advance(name: str, looked: _Looked, house: House) -> tuple[Alert, ...]:
    """Bring a model's alerts up to what was found, and return those whose phase is another one now."""
    now, author = house.clock(), house.settings.user
    kept = kept_alerts(house.records, name)
    before = {key: one.alert for key, one in kept.items()}
    after = step(before, _most_severe(signals(looked.findings)), now, is_known=lambda alert: alert.labels.get("kind") not in looked.unknown)
    won = {key: alert for key, alert in after.items() if not to_keep(before.get(key), alert) or _keep(alert, kept.get(key), house)}
    for key, alert in before.items():
        if key not in after:
            drop_alert(alert, house.records, at=now, author=author)
    return changed(before, won)


def _keep(alert: Alert, before: KeptAlert | None, house: House) -> bool:
    now, author = house.clock(), house.settings.user
    if before is None:
        return put_alert(alert, house.records, at=now, author=author)
    return swap_alert(alert, before.revision, house.records, at=now, author=author)


def _most_severe(found: Sequence[Signal]) -> Sequence[Signal]:
    ranks = {"critical": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda one: (ranks.get(one.labels.get("severity", ""), 3), one.labels.get("subject", "")))[:SIGNAL_LIMIT]


def example_alert(house: House) -> Alert:
    """Return an alert that says that it is a test."""
    now = house.clock()
    labels = {"alertname": "FairleadTest", "model": "-", "severity": "info", "subject": "test"}
    annotations = {"summary": "This is a test of an alert's receiver. Nothing is wrong.", "advice": "Do nothing."}
    return replace(Alert(labels, annotations, 0.0, AlertPhase.FIRING, now), fired_at=now)
