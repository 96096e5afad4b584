"""Webhooks as people handle them: add, list, test, remove. How they are delivered: `webhook_delivery`.

Takes a House and what was typed; gives plain frozen values. Raises SpecError, ForbiddenError (an address that is not public),
NotFoundError, ConflictError. Never shows a secret but the moment it is made.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fairlead.app.webhook_delivery import TIMEOUT_S, refusal, send, waiting
from fairlead.app.webhook_records import all_hooks, drop_hook, find_hook, put_hook, read_cursor
from fairlead.app.wiring import House
from fairlead.core import webhook
from fairlead.core.webhook import Cursor, Webhook
from fairlead.errors import DeadlineError, FairleadError, SpecError, StorageError, UnavailableError
from fairlead.security.outbound import check_url, resolve

_SECRET_LIMIT_BYTES = 4096
_ID_BYTES = 6


@dataclass(frozen=True)
class AddedWebhook:
    """A new webhook. `secret` is set where it was made here: it is shown once and never again. `warning` is "" where all is well."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = field(default="", repr=False)
    warning: str = ""


@dataclass(frozen=True)
class WebhookRow:
    """One webhook in the list: `url` without what stands after a question mark; `waiting` events have not arrived yet."""

    id: str
    url: str
    events: tuple[str, ...]
    author: str
    created_at: float
    waiting: int
    cursor: Cursor
    disabled: str = ""


@dataclass(frozen=True)
class Tested:
    """What a receiver said to a test event: a status, or why it did not take it ("" where it did)."""

    id: str
    status: int = 0
    problem: str = ""


def add(url: str, events: str, house: House, *, secret_file: Path | None = None) -> AddedWebhook:
    """Send `events` to `url` from now on. The name is resolved now, so that what may not be called is refused here."""
    destination = check_url(url)
    wanted = webhook.parse_events(events)
    secret = _read_secret(secret_file) if secret_file is not None else webhook.new_secret(secrets.token_bytes(32))
    warnings = []
    try:
        resolve(destination, allow_private=house.settings.allow_private_webhooks, timeout_s=TIMEOUT_S)
    except (UnavailableError, DeadlineError) as error:
        warnings.append(f"{error.message} Events wait until it can be reached.")
    twin = next((one for one in all_hooks(house.records) if one.url == url and not one.disabled), None)
    if twin is not None:
        warnings.append(
            f"{twin.id} goes to the same address: what both want is sent twice. To take that one away: webhook remove {twin.id}"
        )
    hook = Webhook(secrets.token_hex(_ID_BYTES), url, wanted, house.settings.user, house.clock())
    put_hook(hook, secret, house.records)
    return AddedWebhook(hook.id, shown_url(hook.url), hook.events, "" if secret_file is not None else secret, " ".join(warnings))


def listed(house: House) -> tuple[WebhookRow, ...]:
    """Return every webhook, oldest first."""
    rows = [_row(hook, house) for hook in all_hooks(house.records)]
    return tuple(sorted(rows, key=lambda row: (row.created_at, row.id)))


def remove(identity: str, house: House) -> str:
    """Send nothing there any more, forget the secret, and return the id."""
    hook = find_hook(identity, house.records)
    drop_hook(hook, house.records, at=house.clock(), author=house.settings.user)
    return hook.id


def try_out(identity: str, house: House) -> Tested:
    """Send a `webhook.test` event now and return what the receiver said; whatever waits there goes on waiting."""
    hook = find_hook(identity, house.records)
    body = webhook.message(webhook.TEST, house.clock(), {"webhook": hook.id, "author": house.settings.user})
    try:
        answer = send(hook, f"msg_{hook.id}_test_{secrets.token_hex(4)}", body, house)
    except StorageError:
        raise
    except FairleadError as error:
        return Tested(hook.id, problem=str(error))
    return Tested(hook.id, answer.status, refusal(answer))


def shown_url(url: str) -> str:
    """Return the URL as it may be shown: what stands after a question mark is often a secret."""
    return urlsplit(url)._replace(query="").geturl() + ("?..." if "?" in url else "")


def _row(hook: Webhook, house: House) -> WebhookRow:
    cursor, _ = read_cursor(hook, house.records)
    left = 0 if hook.disabled else waiting(hook, cursor, house)
    return WebhookRow(hook.id, shown_url(hook.url), hook.events, hook.author, hook.created_at, left, cursor, hook.disabled)


def _read_secret(path: Path) -> str:
    """Return the checked secret in a file; raises SpecError, which never shows it."""
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_LIMIT_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SpecError(f"The secret file '{path}' cannot be read: {reason}.", hint="It holds one line: whsec_...") from None
    webhook.secret_key(text)
    return text
