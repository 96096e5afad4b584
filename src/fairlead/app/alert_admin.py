"""Alerts as people handle them: receivers and policies added and removed, silences, tests, and what other watchers load.

Takes a House and what was typed; gives plain frozen values. Raises SpecError, ForbiddenError (an address that is not public, commands that
this machine does not start), NotFoundError, UnavailableError (a test that was not taken). Never shows a password.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app import alert_records
from fairlead.app.alert_delivery import check_commands, postbox, send, split_command
from fairlead.app.alert_policies import Acted, done
from fairlead.app.alert_records import LastLook, last_looks
from fairlead.app.alerting import example_alert
from fairlead.app.mail import check_postbox
from fairlead.app.webhooks import shown_url
from fairlead.app.wiring import House
from fairlead.core.alert import Alert, Matcher, Policy, PolicyAction, Receiver, ReceiverKind, Silence, fingerprint
from fairlead.core.plan import Plan
from fairlead.core.release_text import parse_steps
from fairlead.core.requirement import Requirement
from fairlead.core.version import PRODUCTION
from fairlead.errors import DeadlineError, FairleadError, NotFoundError, SpecError, StorageError, UnavailableError
from fairlead.monitor.alerts.telling import Notice, Told, silenced
from fairlead.monitor.export.grafana_dashboard import dashboard
from fairlead.monitor.export.prometheus_rules import rules_file
from fairlead.security.outbound import check_url, resolve
from fairlead.stores.document import load
from fairlead.stores.durable_files import typed_errors
from fairlead.stores.version_files import read_file

_ID_BYTES = 6
_TIMEOUT_S = 10.0
_PASSWORD_LIMIT_BYTES = 1024
_SILENCE_MOST_S = 366 * 86_400.0


@dataclass(frozen=True)
class NewReceiver:
    """A receiver as it was typed; see core.alert.Receiver."""

    kind: ReceiverKind
    target: str
    matchers: tuple[Matcher, ...] = ()
    server: str = ""
    sender: str = ""
    user: str = ""
    password_file: Path | None = None
    repeat_s: float = 4 * 3600.0
    sends_resolved: bool = True


@dataclass(frozen=True)
class Added:
    """What was added, by its id; `warning` is "" where all is well."""

    id: str
    what: str
    warning: str = ""


@dataclass(frozen=True)
class AlertRow:
    """One alert in the list; `silence` is the id of the silence that hides it ("": none)."""

    alert: Alert
    silence: str = ""


@dataclass(frozen=True)
class ReceiverRow:
    """One receiver: `target` without what may be secret, what it took and what came in the way last."""

    receiver: Receiver
    target: str
    delivered: int
    attempt: int
    error: str


@dataclass(frozen=True)
class Overview:
    """Alerts (firing first), who is told, what is silenced, what policies there are and did. `looks` say when models were looked at last;
    `unwatched` are those in production that nobody looks at.
    """

    alerts: tuple[AlertRow, ...]
    receivers: tuple[ReceiverRow, ...]
    silences: tuple[Silence, ...]
    policies: tuple[Policy, ...]
    acted: tuple[Acted, ...]
    looks: tuple[LastLook, ...] = ()
    unwatched: tuple[str, ...] = ()


def add_receiver(new: NewReceiver, house: House) -> Added:
    """Tell somebody of alerts from now on. Addresses are looked up now, so that what may not be called is refused here."""
    receiver = Receiver(
        secrets.token_hex(_ID_BYTES),
        new.kind,
        new.target.strip(),
        new.matchers,
        house.settings.user,
        house.clock(),
        new.server,
        new.sender,
        new.user,
        repeat_s=_span(new.repeat_s, "repeat"),
        sends_resolved=new.sends_resolved,
    )
    warning = _check(receiver, house)
    if new.user:
        if new.password_file is None:
            raise SpecError("A mail server asks for a password.", hint="Give the file that holds it: --password-file.")
        alert_records.put_secret(receiver.id, _read_password(new.password_file), house.records, at=house.clock())
    alert_records.keep(receiver, house.records, at=house.clock(), author=house.settings.user)
    return Added(receiver.id, f"{receiver.kind.value} {shown_target(receiver)}", warning)


def add_policy(policy: Policy, house: House) -> Added:
    """Let something be done about alerts from now on; `policy.id`, author and time are made here."""
    if policy.action is PolicyAction.RETRAIN:
        words = split_command(policy.command)
        if shutil.which(words[0]) is None:
            raise SpecError(f"There is no program '{words[0][:64]}'.", hint="Write its whole path.")
        if policy.data and not Path(policy.data).exists():
            raise SpecError(f"There is no '{policy.data[:200]}'.", hint="A new model is proven on it.")
    if policy.steps:
        parse_steps(policy.steps)
    made = replace(
        policy,
        id=secrets.token_hex(_ID_BYTES),
        author=house.settings.user,
        created_at=house.clock(),
        pause_s=_span(policy.pause_s, "pause"),
    )
    alert_records.keep(made, house.records, at=house.clock(), author=house.settings.user)
    return Added(made.id, f"{made.action.value} for {shown_matchers(made.matchers)}", _too_late(made, house))


def _too_late(policy: Policy, house: House) -> str:
    """Return what fires already, and that it is left to a person; "" where nothing does."""
    fires = [kept.alert for kept in alert_records.kept_alerts(house.records).values() if kept.alert.is_firing]
    names = sorted({f"{one.name} of {one.labels.get('model', '')}" for one in fires if policy.wants(one.labels)})
    return f"{', '.join(names)} fires already: that is left to you, the policy acts on what begins from now on." if names else ""


def add_silence(matchers: tuple[Matcher, ...], for_s: float, comment: str, house: House) -> Added:
    """Tell nobody of alerts that all matchers hold for, for some time from now on."""
    if not matchers:
        raise SpecError("A silence of everything hides everything.", hint="Say of what: model=digits, or alertname=Drift.")
    if not 0 < for_s <= _SILENCE_MOST_S:
        raise SpecError("A silence lasts between a moment and a year.", hint="Write it like --for 2h.")
    now = house.clock()
    silence = Silence(secrets.token_hex(_ID_BYTES), matchers, now, now + for_s, house.settings.user, comment[:500])
    alert_records.keep(silence, house.records, at=now, author=house.settings.user)
    return Added(silence.id, f"silence of {shown_matchers(matchers)}")


def remove(identity: str, house: House) -> str:
    """Remove the receiver, silence or policy whose id begins so, and return its id."""
    records = house.records
    every: list[Receiver | Silence | Policy] = [
        *alert_records.everything(Receiver, records),
        *alert_records.everything(Silence, records),
        *alert_records.everything(Policy, records),
    ]
    found = [one for one in every if identity and one.id.startswith(identity.lower())]
    if len(found) > 1:
        raise SpecError(f"'{identity[:64]}' begins {len(found)} ids.", hint="Write more of it.")
    if not found:
        raise NotFoundError(f"There is no receiver, silence or policy '{identity[:64]}'.", hint="See: fairlead alerts list")
    alert_records.drop(found[0], records, at=house.clock(), author=house.settings.user)
    return found[0].id


def overview(house: House) -> Overview:
    """Return everything that there is of alerts."""
    now, silences = house.clock(), alert_records.everything(Silence, house.records)
    alerts = [kept.alert for kept in alert_records.kept_alerts(house.records).values()]
    order = {"firing": 0, "pending": 1, "resolved": 2}
    alerts.sort(key=lambda one: (order[one.phase.value], -one.since))
    rows = tuple(AlertRow(one, hidden.id if (hidden := silenced(one, silences, now)) is not None else "") for one in alerts)
    receivers = tuple(_row(receiver, house) for receiver in alert_records.everything(Receiver, house.records))
    living = tuple(silence for silence in silences if silence.until > now)
    looks = tuple(last_looks(house.records).values())
    return Overview(rows, receivers, living, alert_records.everything(Policy, house.records), done(house), looks, unwatched(house))


def unwatched(house: House) -> tuple[str, ...]:
    """Return the models in production whose alerts nobody looks for."""
    looks, now = last_looks(house.records), house.clock()
    live = [name for name in house.records.names() if PRODUCTION in house.records.aliases(name)]
    return tuple(name for name in live if name not in looks or looks[name].is_overdue(now))


def try_out(identity: str, house: House) -> str:
    """Send a test alert to a receiver now, and return its id; raises UnavailableError with what came in the way."""
    receiver = alert_records.find(Receiver, identity, house.records)
    alert = example_alert(house)
    notice = Notice(fingerprint(alert.labels), alert.labels, (alert,), {alert.fingerprint: alert.fired_at})
    try:
        problem, _ = send(receiver, notice, house)
    except StorageError:
        raise
    except FairleadError as error:
        raise UnavailableError(f"{receiver.id} did not take the test: {error.message}", hint=error.hint) from error
    if problem:
        raise UnavailableError(f"{receiver.id} did not take the test: {problem}")
    return receiver.id


def try_out_all(house: House) -> tuple[tuple[str, FairleadError | None], ...]:
    """Send a test alert to every receiver; return their ids and what came in the way of each. Raises NotFoundError where there is none."""
    receivers = alert_records.everything(Receiver, house.records)
    if not receivers:
        raise NotFoundError("Nobody is told of alerts yet, so there is nobody to test.", hint="fairlead alerts add --help shows how.")
    return tuple((receiver.id, _problem_of(receiver.id, house)) for receiver in receivers)


def _problem_of(identity: str, house: House) -> FairleadError | None:
    try:
        try_out(identity, house)
    except UnavailableError as error:
        return error
    return None


def promises(house: House) -> Mapping[str, tuple[Requirement, ...]]:
    """Return what each model in production was registered for."""
    found = {}
    for name in house.records.names():
        number = house.records.aliases(name).get(PRODUCTION)
        if number is not None:
            found[name] = load(read_file(house.records.version(name, number), "plan.json", house.blobs), Plan).requirements
    return found


def export(house: House, *, prometheus: Path | None, grafana: Path | None) -> tuple[Path, ...]:
    """Write rules and dashboard for what is in production, and return the files."""
    kept = promises(house)
    written = []
    for path, text in ((prometheus, rules_file(kept)), (grafana, dashboard(kept))):
        if path is not None:
            with typed_errors(f"'{path.name}'", path.parent):
                path.write_text(text)
            written.append(path)
    return tuple(written)


def shown_target(receiver: Receiver) -> str:
    """Return where a receiver is told, without what may be secret."""
    return shown_url(receiver.target) if receiver.kind in (ReceiverKind.WEBHOOK, ReceiverKind.ALERTMANAGER) else receiver.target


def shown_matchers(matchers: tuple[Matcher, ...]) -> str:
    """Return matchers as a person writes them."""
    return ", ".join(map(str, matchers)) or "every alert"


def _check(receiver: Receiver, house: House) -> str:
    """Raise what is wrong with a receiver; return a warning where it cannot be reached now."""
    if receiver.kind is ReceiverKind.COMMAND:
        check_commands(house)
        words = split_command(receiver.target)
        if shutil.which(words[0]) is None:
            raise SpecError(f"There is no program '{words[0][:64]}'.", hint="Write its whole path.")
        return ""
    if receiver.kind is ReceiverKind.EMAIL:
        check_postbox(postbox(receiver))
        return ""
    destination = check_url(receiver.target)
    try:
        resolve(destination, allow_private=house.settings.allow_private_webhooks, timeout_s=_TIMEOUT_S)
    except (UnavailableError, DeadlineError) as error:
        return f"{error.message} Alerts wait until it can be reached."
    return ""


def _row(receiver: Receiver, house: House) -> ReceiverRow:
    told: list[Told] = [one for one, _ in alert_records.told_of(receiver, house.records).values()]
    worst = max(told, key=lambda one: one.attempt, default=Told(receiver.id, ""))
    return ReceiverRow(receiver, shown_target(receiver), sum(one.delivered for one in told), worst.attempt, worst.error)


def _read_password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_PASSWORD_LIMIT_BYTES).decode("utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no line of text"
        raise SpecError(f"The password file '{path}' cannot be read: {reason}.", hint="It holds one line.") from None


def _span(seconds: float, name: str) -> float:
    if not (math.isfinite(seconds) and 0 < seconds <= _SILENCE_MOST_S):
        raise SpecError(f"That is no time for --{name}.", hint="Write it like 4h.")
    return seconds
