"""From what a person writes to the version that is meant.

Takes a Reference and a RecordStore; raises NotFoundError that says what there is, and the nearest name.

Rule for a bare name: the version that @production points at; where there is none yet, the latest version.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fairlead.core.ports import RecordStore
from fairlead.core.version import PRODUCTION, Reference, Version
from fairlead.errors import NotFoundError

_SHOWN_COUNT = 10


def resolve(reference: Reference, *, records: RecordStore) -> Version:
    """Return the version that `reference` means now."""
    latest = records.latest(reference.name)
    if latest is None:
        raise _unknown_name(reference.name, records.names())
    if reference.number is not None:
        return latest if reference.number == latest.number else records.version(reference.name, reference.number)
    aliases = records.aliases(reference.name)
    alias = reference.alias or PRODUCTION
    if alias in aliases:
        return records.version(reference.name, aliases[alias])
    if reference.alias is None:
        return latest
    raise NotFoundError(f"{reference.name} has no alias '{alias}'.", hint=_choice(alias, aliases, "It has no alias yet.", "Its aliases"))


def require_name(name: str, *, records: RecordStore) -> None:
    """Raise NotFoundError unless something is registered as `name`."""
    if records.latest(name) is None:
        raise _unknown_name(name, records.names())


def _unknown_name(name: str, names: Iterable[str]) -> NotFoundError:
    hint = _choice(name, names, "Nothing is registered yet: begin with fairlead deploy.", "Registered")
    return NotFoundError(f"Nothing is registered as '{name}'.", hint=hint)


def _choice(wanted: str, known: Iterable[str], none: str, title: str) -> str:
    """Return a hint: the nearest name if one is near, and what exists."""
    listed = sorted(known)
    if not listed:
        return none
    near = difflib.get_close_matches(wanted, listed, n=1, cutoff=0.5)
    shown = ", ".join(listed[:_SHOWN_COUNT]) + (f" and {len(listed) - _SHOWN_COUNT} more" if len(listed) > _SHOWN_COUNT else "")
    return f"{f'Did you mean {near[0]}? ' if near else ''}{title}: {shown}."
