"""Telling receivers of alerts: each apart from the others, what stands now, at least once, again after a failure.

`deliver` takes a House and alerts; gives every attempt. Of any number of processes that do so one tells each receiver: who claims the note
of what it was told (compare-and-set) sends. Raises StorageError where the registry is away. A receiver that hangs holds up nobody else; its
time is bounded. Commands are started where this machine allows it only: who may write to a shared registry may not run programs elsewhere.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from fairlead.app.alert_records import everything, put_told, secret_of, told_of
from fairlead.app.mail import Postbox, addresses, send_letter
from fairlead.app.webhook_delivery import BUSY_LIMIT, TIMEOUT_S, refusal
from fairlead.app.wiring import House
from fairlead.core.alert import Alert, Receiver, ReceiverKind, Silence
from fairlead.core.interface import shorten
from fairlead.errors import DeadlineError, FairleadError, ForbiddenError, SpecError, StorageError, UnavailableError
from fairlead.monitor.alerts.forms import api_alerts, letter, webhook_message
from fairlead.monitor.alerts.telling import Notice, Told, due, failed, succeeded
from fairlead.security.outbound import check_url, post

COMMAND_S = 30.0
_LEASE_S = 120.0
_API = "/api/v2/alerts"
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER")


@dataclass(frozen=True)
class Attempt:
    """One attempt to tell a receiver: how many alerts fire in the notice and how many ended, and what came of it ("": it was taken)."""

    receiver: str
    kind: ReceiverKind
    firing: int
    ended: int
    problem: str = ""
    next_in_s: float = 0.0


def deliver(alerts: Iterable[Alert], house: House, *, url: str = "") -> tuple[Attempt, ...]:
    """Tell every receiver what is due; `url` is where a person looks."""
    known = tuple(alerts)
    receivers, silences = everything(Receiver, house.records), everything(Silence, house.records)
    if not receivers:
        return ()
    with ThreadPoolExecutor(min(BUSY_LIMIT, len(receivers)), thread_name_prefix="alerts") as pool:
        found = pool.map(lambda receiver: _serve(receiver, known, silences, house, url), receivers)
        return tuple(attempt for attempts in found for attempt in attempts)


def send(receiver: Receiver, notice: Notice, house: House, *, url: str = "") -> tuple[str, float]:
    """Send one notice. Returns why the receiver did not take it ("": it did) and for how long it asked to be left alone. Raises a
    FairleadError where nobody could be told.
    """
    if receiver.kind is ReceiverKind.EMAIL:
        box = postbox(receiver)
        password = secret_of(receiver.id, house.records) if receiver.user else ""
        send_letter(box, password, letter(notice), allow_private=house.settings.allow_private_webhooks, timeout_s=TIMEOUT_S)
        return "", 0.0
    if receiver.kind is ReceiverKind.COMMAND:
        _start(receiver, webhook_message(notice, receiver, url=url), notice, house)
        return "", 0.0
    if receiver.kind is ReceiverKind.ALERTMANAGER:
        target, body = receiver.target.rstrip("/") + _API, api_alerts(notice, house.clock(), url=url)
    else:
        target, body = receiver.target, webhook_message(notice, receiver, url=url)
    headers = {"Content-Type": "application/json"}
    answer = post(check_url(target), body, headers, allow_private=house.settings.allow_private_webhooks, timeout_s=TIMEOUT_S)
    return refusal(answer), answer.retry_after_s


def postbox(receiver: Receiver) -> Postbox:
    """Return where a receiver's mail goes."""
    return Postbox(receiver.server, receiver.sender, addresses(receiver.target), receiver.user)


def check_commands(house: House) -> None:
    """Raise ForbiddenError where commands that the registry names may not run here."""
    if house.settings.registry and not house.settings.allow_alert_commands:
        raise ForbiddenError(
            "Commands of a shared registry are not started here.",
            hint="Whoever runs this machine allows it: FAIRLEAD_ALLOW_ALERT_COMMANDS=1.",
        )


def split_command(text: str) -> list[str]:
    """Return the words of a command, as a shell splits them; no shell runs it. Raises SpecError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SpecError(f"'{shorten(text)}' is no command: {error}.", hint="Quote it as in a shell.") from None
    if not words:
        raise SpecError("The command is empty.", hint="Write a program and its arguments.")
    return words


def _serve(receiver: Receiver, alerts: Sequence[Alert], silences: Sequence[Silence], house: House, url: str) -> list[Attempt]:
    """Send what one receiver is to get: each notice claimed before, so that nobody sends it besides."""
    attempts = []
    told = told_of(receiver, house.records)
    for notice in due(alerts, receiver, {key: one for key, (one, _) in told.items()}, silences, house.clock()):
        before, revision = told.get(notice.key, (Told(receiver.id, notice.key), 0))
        now = house.clock()
        claimed = put_told(receiver, replace(before, next_at=now + _LEASE_S), revision, house.records, at=now)
        if claimed is None:
            continue
        after, attempt, has_hung = _attempt(receiver, notice, before, house, url)
        attempts.append(attempt)
        put_told(receiver, after, claimed, house.records, at=house.clock())
        if has_hung:
            break  # the rest would wait as long each; it is told the next time
    return attempts


def _attempt(receiver: Receiver, notice: Notice, before: Told, house: House, url: str) -> tuple[Told, Attempt, bool]:
    """Send one notice; return what the receiver was told then, the attempt, and whether the receiver hung."""
    fires = sum(alert.is_firing for alert in notice.alerts)
    attempt = Attempt(receiver.id, receiver.kind, fires, len(notice.alerts) - fires)
    asked_s, has_hung = 0.0, False
    try:
        problem, asked_s = send(receiver, notice, house, url=url)
    except StorageError:
        raise
    except FairleadError as error:
        problem, has_hung = str(error), isinstance(error, DeadlineError)
    now = house.clock()
    if not problem:
        return succeeded(before, notice, now), attempt, False
    after = failed(before, problem, now, asked_s=asked_s)
    return after, replace(attempt, problem=problem, next_in_s=after.next_at - now), has_hung


def _start(receiver: Receiver, body: bytes, notice: Notice, house: House) -> None:
    """Run the receiver's command with the message on its standard input, in a group of its own that ends with it."""
    check_commands(house)
    environment = kept_environment() | {
        "FAIRLEAD_ALERT_STATUS": "firing" if notice.is_firing else "resolved",
        "FAIRLEAD_ALERT_COUNT": str(len(notice.alerts)),
    }
    words = split_command(receiver.target)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"The command '{shorten(words[0])}' cannot be started: {error.strerror}."
        raise UnavailableError(problem, hint="Check its path and rights.") from None
    with child:
        try:
            _, said = child.communicate(body, COMMAND_S)
        except subprocess.TimeoutExpired:
            problem = f"The command '{shorten(words[0])}' took longer than {COMMAND_S:g} s."
            raise DeadlineError(problem, hint="Let it go on in the background.") from None
        finally:
            end_group(child)
    if child.returncode:
        complaint = shorten(said.decode("utf-8", "replace").strip(), 200)
        raise UnavailableError(f"The command '{shorten(words[0])}' ended with {child.returncode}: {complaint}")


def kept_environment() -> dict[str, str]:
    """Return what a command of the user's sees of our environment: no secret of ours is among it."""
    return {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a command and all that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    child.wait()
