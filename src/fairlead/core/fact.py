"""What a registry records beside versions and aliases: facts that change and keep their past, reports that are replaced, retirements, and
what followers are told of all of it. Pure values and the rules for what may be stored.

The checks raise SpecError for a kind or key that cannot be one and InputError for content that cannot be kept. Law: a fact's revisions are
numbered from 1 without gaps, none is ever changed or removed, and the newest is what holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fairlead.errors import InputError, SpecError

Traits = Mapping[str, str | float]
NO_TRAITS: Traits = MappingProxyType({})

BODY_LIMIT_BYTES = 2**20
TEXT_LIMIT = 1000  # characters of a reason, an author or a trait's text
TAG = "tag"
TAG_PREFIX = "tag:"
BUILT_IN = frozenset({"name", "number", "alias", "created", "stage", "tag"})  # what a query knows of every version by itself
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_TRAIT = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_TAG_KEY = re.compile(r"([a-z0-9][a-z0-9._-]{0,127}):([1-9][0-9]{0,8})/([a-z][a-z0-9_.-]{0,63})")
_KEY_LIMIT = 512
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Fact:
    """Revision `revision` of what is known under `kind` and `key`: `body` is JSON text; None says that it was removed.

    `at` is Unix seconds as the writer's clock said, `sequence` orders it among all changes.
    """

    kind: str
    key: str
    revision: int
    body: str | None
    at: float
    author: str
    sequence: int


@dataclass(frozen=True)
class Report:
    """What somebody last said under `kind` and `key`; the one before is forgotten. The body may be a secret: nothing prints it."""

    kind: str
    key: str
    body: str = field(repr=False)
    at: float


@dataclass(frozen=True)
class Retirement:
    """Version `number` is gone since `at` (Unix seconds); its number is never used again."""

    number: int
    at: float
    reason: str
    digest: str


@dataclass(frozen=True)
class Change:
    """Something happened: `kind` is version.created, version.retired, alias.moved or fact.changed; `subject` says of what, as a person
    writes it: "digits:4", "digits@production", "release/digits". `at` is Unix seconds as the writer's clock said.
    """

    sequence: int
    kind: str
    subject: str
    at: float
    detail: Mapping[str, Any]


def check_kind(kind: str) -> str:
    """Return `kind` if facts and reports can be of it; raises SpecError."""
    if not _KIND.fullmatch(kind):
        raise SpecError(f"{kind[:64]!r} is not a kind of fact.", hint="Use lower-case letters, digits, '_' and '-', a letter first.")
    return kind


def check_key(key: str) -> str:
    """Return `key` if something can be kept under it; raises SpecError."""
    if not key or len(key) > _KEY_LIMIT or not key.isprintable():
        raise SpecError(f"{key[:64]!r} is not a key.", hint=f"Keys are printable text of 1 to {_KEY_LIMIT} characters.")
    return key


def check_body(body: str) -> str:
    """Return `body` if it is JSON text that can be kept; raises InputError."""
    if len(body) > BODY_LIMIT_BYTES or len(body.encode(errors="replace")) > BODY_LIMIT_BYTES:
        raise InputError(f"That is too much to keep: at most {BODY_LIMIT_BYTES:,} bytes.", hint="Keep less in one place.")
    try:
        json.loads(check_text(body, "a fact's body", limit=BODY_LIMIT_BYTES), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"What is to be kept is not JSON: {error}.") from None
    return body


def check_text(text: str, what: str, *, limit: int = TEXT_LIMIT) -> str:
    """Return `text` if every store can hold it: not empty, not too long, no zero character, no half character; raises InputError."""
    if not text.strip():
        raise InputError(f"There has to be {what}.")
    if len(text) > limit:
        raise InputError(f"{what.capitalize()} of {len(text):,} characters is too long: at most {limit:,}.")
    if "\0" in text or _LONE_SURROGATE.search(text):
        raise InputError(f"There is a character in {what} that is none.", hint="Remove zero characters and half surrogate pairs.")
    return text


def check_time(at: float) -> float:
    """Return `at` if it is a time; raises InputError."""
    if not math.isfinite(at):
        raise InputError(f"{at} is not a time.")
    return at


def check_traits(traits: Traits) -> Traits:
    """Return `traits` if they can be kept with a version; raises SpecError for a key, InputError for a value."""
    for key, value in traits.items():
        if not _TRAIT.fullmatch(key) or key in BUILT_IN:
            raise SpecError(f"{key[:64]!r} cannot name a trait.", hint=f"Taken: {', '.join(sorted(BUILT_IN))}. Write it like size_bytes.")
        check_trait_value(key, value)
    return traits


def check_trait_value(key: str, value: str | float) -> str | float:
    """Return `value` if it can be kept and searched: a text, or a finite number; raises InputError."""
    if isinstance(value, str):
        return check_text(value, f"a text for '{key}'")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"'{key}' cannot be {value!r}.", hint="It is a text or a finite number.")
    return float(value)


def parse_tag_key(key: str) -> tuple[str, int, str]:
    """Return model, version number and tag of a tag's key, `digits:3/team`; raises SpecError."""
    match = _TAG_KEY.fullmatch(key)
    if match is None:
        raise SpecError(f"{key[:64]!r} does not say which tag of which version.", hint="Write it like digits:3/team.")
    return match[1], int(match[2]), match[3]


def tag_value(body: str) -> str | float:
    """Return what a tag's body says: a JSON text or number; raises InputError for anything else."""
    value = json.loads(body)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError("A tag's value is a text or a number.")
    return check_trait_value(TAG, value)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} has no place in JSON")
