"""Where webhooks stand in the registry: each a fact (kind "webhook", key its id), how far it has come another (kind "cursor", key
`webhook/<id>`), its secret a report (kind "webhook-secret"), because facts keep their past and a secret that was removed must be gone.

Takes a RecordStore; gives and keeps core values. Raises NotFoundError, SpecError for an id that is not one, ConflictError where somebody
else was faster.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead.core.fact import Fact
from fairlead.core.ports import RecordStore
from fairlead.core.webhook import Cursor, Webhook
from fairlead.errors import ConflictError, NotFoundError, SpecError
from fairlead.stores.document import dump, load

HOOK, CURSOR, SECRET = "webhook", "cursor", "webhook-secret"


def all_hooks(records: RecordStore) -> tuple[Webhook, ...]:
    """Return every webhook, by id."""
    return tuple(load(fact.body.encode(), Webhook) for fact in records.facts(HOOK) if fact.body is not None)


def find_hook(identity: str, records: RecordStore) -> Webhook:
    """Return the webhook whose id begins so; raises NotFoundError, SpecError where several do."""
    found = [hook for hook in all_hooks(records) if hook.id.startswith(identity.lower())] if identity else []
    if len(found) > 1:
        raise SpecError(f"'{identity[:64]}' begins the ids of {len(found)} webhooks.", hint=f"Write more of it: {found[0].id}.")
    if not found:
        raise NotFoundError(f"There is no webhook '{identity[:64]}'.", hint="See: fairlead webhook list")
    return found[0]


def put_hook(hook: Webhook, secret: str, records: RecordStore) -> None:
    """Keep a new webhook that gets what happens from now on. Secret and cursor first: one that can be seen can be delivered to."""
    records.put_report(SECRET, hook.id, dump(secret).decode(), hook.created_at)
    put_cursor(hook, Cursor(records.sequence()), None, records, at=hook.created_at)
    records.put_fact(HOOK, hook.id, dump(hook).decode(), expected=0, at=hook.created_at, author=hook.author)


def drop_hook(hook: Webhook, records: RecordStore, *, at: float, author: str) -> None:
    """Forget a webhook and its secret."""
    for kind, key in ((HOOK, hook.id), (CURSOR, _cursor_key(hook))):
        fact = records.fact(kind, key)
        if fact is not None:
            records.put_fact(kind, key, None, expected=fact.revision, at=at, author=author)
    records.drop_report(SECRET, hook.id)


def disable_hook(hook: Webhook, why: str, records: RecordStore, *, at: float, author: str) -> None:
    """Keep the webhook, and send it nothing more."""
    fact = records.fact(HOOK, hook.id)
    if fact is not None:
        records.put_fact(HOOK, hook.id, dump(replace(hook, disabled=why)).decode(), expected=fact.revision, at=at, author=author)


def secret_of(hook: Webhook, records: RecordStore) -> str:
    """Return the secret; raises NotFoundError where it is gone."""
    for report in records.reports(SECRET, hook.id):
        if report.key == hook.id:
            return load(report.body.encode(), str)
    raise NotFoundError(f"The secret of webhook {hook.id} is gone.", hint="Remove the webhook and add it again.")


def read_cursor(hook: Webhook, records: RecordStore) -> tuple[Cursor, Fact | None]:
    """Return how far the webhook has come, and the fact that says so; one without a cursor begins now."""
    fact = records.fact(CURSOR, _cursor_key(hook))
    if fact is None or fact.body is None:
        return Cursor(records.sequence()), None
    return load(fact.body.encode(), Cursor), fact


def put_cursor(hook: Webhook, cursor: Cursor, before: Fact | None, records: RecordStore, *, at: float) -> Fact | None:
    """Keep the cursor in place of `before`; return None where somebody else has moved it meanwhile."""
    expected = 0 if before is None else before.revision
    try:
        return records.put_fact(
            CURSOR, _cursor_key(hook), dump(cursor).decode(), expected=expected, at=at, author=cursor.owner or hook.author
        )
    except ConflictError:
        return None


def _cursor_key(hook: Webhook) -> str:
    return f"{HOOK}/{hook.id}"
