"""`fairlead protect` and `approve`: a model whose production takes a second person."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option
from fairlead.core.version import PRODUCTION, check_name, parse_reference
from fairlead.register import approval
from fairlead.register.resolve import resolve
from fairlead.settings import check_user

if TYPE_CHECKING:
    from fairlead.app.wiring import House

_as_option = click.option("--as", "user", metavar="USER", help="Who you are.  [default: FAIRLEAD_USER, else the system's name for you]")


@click.command()
@click.argument("name")
@click.option("--alias", "aliases", multiple=True, help="What only approved versions may answer. Repeat for more.  [default: production]")
@click.option("--remove", "is_removed", is_flag=True, help="Protect the model no longer.")
@_as_option
@home_option
@json_option
def protect(name: str, aliases: tuple[str, ...], user: str | None, home: str | None, *, is_removed: bool, as_json: bool) -> None:
    """Let a model's @production move only to versions that somebody other than their publisher approved."""
    if is_removed and aliases:
        raise click.UsageError("--remove takes no --alias: it ends the protection of all.")
    house = build_house(home)
    author = _who(user, house)
    if is_removed:
        was_protected = approval.unprotect(check_name(name), records=house.records, clock=house.clock, author=author)
        if as_json:
            emit_json({"name": name, "was_protected": was_protected})
            return
        click.echo(f"{name} is protected no longer." if was_protected else f"{name} was not protected.")
        return
    made = approval.protect(check_name(name), records=house.records, clock=house.clock, author=author, aliases=aliases or (PRODUCTION,))
    if as_json:
        emit_json(made)
        return
    click.echo(f"{name} is protected: {', '.join('@' + alias for alias in made.aliases)} moves to approved versions only.")
    click.echo(f"Approve one that somebody else published: fairlead approve {name}:N")


@click.command()
@click.argument("version")
@click.option("--withdraw", "is_withdrawn", is_flag=True, help="Take the approval back.")
@_as_option
@home_option
@json_option
def approve(version: str, user: str | None, home: str | None, *, is_withdrawn: bool, as_json: bool) -> None:
    """Stand for a version that somebody else published, so that it may answer in production."""
    house = build_house(home)
    who = _who(user, house)
    found = resolve(parse_reference(version), records=house.records)
    if is_withdrawn:
        approval.withdraw(found, records=house.records, clock=house.clock, author=who)
        if as_json:
            emit_json({"version": found.label, "withdrawn_by": who})
            return
        click.echo(f"{found.label} is not approved any more.")
        return
    given = approval.approve(found, records=house.records, clock=house.clock, approver=who)
    if as_json:
        emit_json({"version": found.label, **dataclasses.asdict(given)})
        return
    click.echo(f"{given.approver} approved {found.label} (published by {given.publisher}), sha256:{given.digest[:16]}")
    click.echo(f"Put it in production: fairlead promote {found.label}")


def _who(user: str | None, house: House) -> str:
    return check_user(user) if user else house.settings.user
