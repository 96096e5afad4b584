"""`fairlead webhook add|list|test|deliver|remove`: who is told of what happens in the registry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from fairlead.app import webhook_delivery, webhooks
from fairlead.app.webhook_delivery import Delivered
from fairlead.app.webhook_records import find_hook
from fairlead.app.webhooks import WebhookRow
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option, mark, table
from fairlead.errors import UnavailableError


@click.group("webhook")
def webhook() -> None:
    """Tell other programs what happens: signed messages, retried for a day. Running servers deliver them."""


@webhook.command("add")
@click.argument("url")
@click.option("--on", "events", default="*", show_default="all", help="Events, e.g. version.created,alias.moved.")
@click.option("--secret-file", type=click.Path(path_type=Path), help="File with the signing secret (whsec_...).  [default: one is made]")
@home_option
@json_option
def add(url: str, events: str, secret_file: Path | None, home: str | None, *, as_json: bool) -> None:
    """Send events to URL from now on."""
    added = webhooks.add(url, events, build_house(home), secret_file=secret_file)
    if as_json:
        emit_json(added)
        return
    click.echo(f"{added.id}  {added.url}  on {', '.join(added.events) if added.events != ('*',) else 'every event'}")
    if added.secret:
        click.echo(f"Signing secret, shown this once: {added.secret}")
    if added.warning:
        click.echo(added.warning, err=True)
    click.echo(f"Try it: fairlead webhook test {added.id}")


@webhook.command("list")
@home_option
@json_option
def listing(home: str | None, *, as_json: bool) -> None:
    """List the webhooks, and how far each has come."""
    rows = webhooks.listed(build_house(home))
    if as_json:
        emit_json(rows)
        return
    if not rows:
        click.echo("No webhooks yet. Add one: fairlead webhook add https://hooks.example.com/fairlead --on alias.moved")
        return
    lines = [
        (row.id, row.url, ",".join(row.events), str(row.cursor.delivered), str(row.waiting), str(row.cursor.given_up), _state(row))
        for row in rows
    ]
    click.echo(table(lines, ("ID", "URL", "ON", "ARRIVED", "WAITING", "GIVEN UP", "STATE")))


@webhook.command("test")
@click.argument("identity", metavar="ID")
@home_option
@json_option
def test(identity: str, home: str | None, *, as_json: bool) -> None:
    """Send a test event now, and say what the receiver answered."""
    tested = webhooks.try_out(identity, build_house(home))
    if as_json:
        emit_json(tested)
    elif not tested.problem:
        click.echo(f"{mark(is_good=True)} {tested.id} took it ({tested.status})")
    if tested.problem:
        raise UnavailableError(f"{tested.id} did not take the test event: {tested.problem}")


@webhook.command("deliver")
@click.argument("identity", metavar="[ID]", default="")
@home_option
@json_option
def deliver(identity: str, home: str | None, *, as_json: bool) -> None:
    """Deliver now what is due; for machines where no server runs."""
    house = build_house(home)
    only = find_hook(identity, house.records).id if identity else ""
    attempts = webhook_delivery.deliver_due(house, only=only)
    if as_json:
        emit_json(attempts)
        return
    for attempt in attempts:
        click.echo(_told(attempt))
    if not attempts:
        click.echo(_nothing(webhooks.listed(house), only))


@webhook.command("remove")
@click.argument("identity", metavar="ID")
@home_option
@json_option
def remove(identity: str, home: str | None, *, as_json: bool) -> None:
    """Send nothing there any more, and forget its secret."""
    removed = webhooks.remove(identity, build_house(home))
    if as_json:
        emit_json({"removed": removed})
        return
    click.echo(f"Removed {removed}.")


def _state(row: WebhookRow) -> str:
    cursor = row.cursor
    if row.disabled:
        return f"switched off: {row.disabled}"
    if not cursor.error:
        return "well" if cursor.delivered else "nothing sent yet"
    left_s = cursor.next_at - time.time()
    again = f"; attempt {cursor.attempt + 1} {f'in {left_s:.0f} s' if left_s > 0 else 'is due'}" if cursor.attempt else ""
    return cursor.error.rstrip(".") + again


def _nothing(rows: Sequence[WebhookRow], only: str) -> str:
    """Return why nothing was sent: nothing waits, or not yet."""
    waiting = [row for row in rows if row.waiting and only in ("", row.id)]
    if not waiting:
        return "Nothing is due."
    count, left_s = sum(row.waiting for row in waiting), min(row.cursor.next_at for row in waiting) - time.time()
    when = f"the next attempt is in {left_s:.0f} s" if left_s > 0 else "somebody else is delivering"
    return f"Nothing is due yet: {count} wait{'s' * (count == 1)}, {when}. See: fairlead webhook list"


def _told(attempt: Delivered) -> str:
    line = f"{mark(is_good=not attempt.problem)} {attempt.webhook}  {attempt.event}  {attempt.subject}"
    return f"{line}  {attempt.complaint or attempt.status}"
