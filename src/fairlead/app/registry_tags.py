"""Tags, stages and notes: what people write on versions. The version itself never changes.

Takes a House and what was typed; gives what is written there now. Raises SpecError for what cannot be a tag, stage or note, NotFoundError
for versions, ConflictError where somebody else wrote the same at the same moment. Every change is kept with its author.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fairlead.app.wiring import House
from fairlead.core.fact import TAG, TAG_PREFIX, parse_tag_key, tag_value
from fairlead.core.query import number_in
from fairlead.core.version import Version, parse_reference
from fairlead.errors import NotFoundError, SpecError
from fairlead.register.resolve import require_name, resolve
from fairlead.stores.document import dump, load

NOTE, STAGE, PROTECTED = "note", "stage", "protected"
STAGES = ("development", "staging", "production", "archived")
NOTE_LIMIT = 10_000
SET = "true"  # what a tag without a value holds
_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Tagged:
    """A version's label and what is written on it now."""

    version: str
    tags: Mapping[str, str | float]
    stage: str = ""


@dataclass(frozen=True)
class Note:
    """A description of a version (`digits:4`) or of a model (`digits`); "" where there is none."""

    subject: str
    text: str
    author: str = ""
    at: float = 0.0


def tag(reference: str, pairs: Iterable[str], house: House, *, remove: Iterable[str] = ()) -> Tagged:
    """Write `key=value` (or `key` alone) on the version, take `remove` away, and return what it has now."""
    version = resolve(parse_reference(reference), records=house.records)
    written = [_pair(pair) for pair in pairs]
    wanted, gone = dict(written), [_key(text) for text in remove]
    twice = [key for key, count in Counter([*(key for key, _ in dict.fromkeys(written)), *dict.fromkeys(gone)]).items() if count > 1]
    if twice:
        raise SpecError(f"'{twice[0]}' is to be two things at once.", hint="Say each tag once: a value, or --remove.")
    known = tags_of(version, house)
    for key in gone:
        if key not in known:
            raise NotFoundError(f"{version.label} has no tag '{key}'.", hint=f"It has: {', '.join(known) or 'none'}.")
    for key, value in {**wanted, **dict.fromkeys(gone)}.items():
        put_tag(version, key, value, house)
    return tagged(version, house)


def stage(reference: str, wanted: str, house: House) -> Tagged:
    """Write the stage on the version; "" takes it away."""
    if wanted and wanted not in STAGES:
        raise SpecError(f"'{wanted[:64]}' is not a stage.", hint=f"Stages: {', '.join(STAGES)}.")
    version = resolve(parse_reference(reference), records=house.records)
    put_tag(version, STAGE, wanted or None, house)
    return tagged(version, house)


def put_tag(version: Version, key: str, value: str | float | None, house: House) -> None:
    """Write one tag (None: take it away), unless it says so already."""
    place = f"{version.label}/{key}"
    parse_tag_key(place)
    fact = house.records.fact(TAG, place)
    current = None if fact is None or fact.body is None else tag_value(fact.body)
    if current == value and type(current) is type(value):
        return
    body = None if value is None else dump(value).decode()
    expected = 0 if fact is None else fact.revision
    house.records.put_fact(TAG, place, body, expected=expected, at=house.clock(), author=house.settings.user)


def tags_of(version: Version, house: House) -> dict[str, str | float]:
    """Return the version's tags, without its stage."""
    known = house.records.traits(version.name, version.number)
    return split_tags(known)[0]


def split_tags(traits: Mapping[str, str | float]) -> tuple[dict[str, str | float], str]:
    """Return the tags and the stage among traits."""
    found = {key.removeprefix(TAG_PREFIX): value for key, value in traits.items() if key.startswith(TAG_PREFIX)}
    return found, str(found.pop(STAGE, ""))


def tagged(version: Version, house: House) -> Tagged:
    """Return what is written on the version."""
    return Tagged(version.label, *split_tags(house.records.traits(version.name, version.number)))


def write_note(reference: str, text: str, house: House) -> Note:
    """Describe the version, or the model where only its name is given; "" takes the description away."""
    subject = _subject(reference, house)
    if len(text) > NOTE_LIMIT:
        raise SpecError(f"The note has {len(text):,} characters; the limit is {NOTE_LIMIT:,}.", hint="Say more in a file of its own.")
    if any(not char.isprintable() and char not in "\n\t" for char in text):
        raise SpecError("The note holds control characters.", hint="Use plain text.")
    fact = house.records.fact(NOTE, subject)
    if text.strip() or fact is not None:
        body = json.dumps(text.strip()) if text.strip() else None
        expected = 0 if fact is None else fact.revision
        house.records.put_fact(NOTE, subject, body, expected=expected, at=house.clock(), author=house.settings.user)
    return read_note(subject, house)


def read_note(reference: str, house: House) -> Note:
    """Return the description of a version or model."""
    subject = _subject(reference, house)
    fact = house.records.fact(NOTE, subject)
    if fact is None or fact.body is None:
        return Note(subject, "")
    return Note(subject, load(fact.body.encode(), str), fact.author, fact.at)


def spoken_tag(key: str, value: str | float) -> str:
    """Return the tag as a person writes it: `reviewed`, `team=vision`."""
    return key if value == SET else f"{key}={spoken_value(value)}"


def spoken_value(value: str | float) -> str:
    """Return a tag's value with every digit: a build number of eight is none with five."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value.is_integer() else repr(value)


def _subject(reference: str, house: House) -> str:
    parsed = parse_reference(reference)
    if parsed.number is None and parsed.alias is None:
        require_name(parsed.name, records=house.records)
        return parsed.name
    return resolve(parsed, records=house.records).label


def _pair(text: str) -> tuple[str, str | float]:
    key, equals, value = text.partition("=")
    if equals and not value.strip():
        raise SpecError(f"'{text[:64]}' lacks a value.", hint=f"Write {key}=VALUE, or {key} alone; --remove {key} takes it away.")
    return _key(key), _value(value.strip()) if equals else SET


def _key(text: str) -> str:
    key = text.strip().lower()
    if key == STAGE:
        raise SpecError("The stage is no plain tag.", hint="Write it with: fairlead stage digits:4 staging")
    if not _KEY.fullmatch(key):
        raise SpecError(
            f"'{text[:64]}' cannot be a tag." if text.isprintable() else "That cannot be a tag.",
            hint="Tags begin with a letter and go on with letters, digits, '_', '.' or '-': team=vision, reviewed.",
        )
    return key


def _value(text: str) -> str | float:
    """Return a number for what is written as one and would be written so again: 7.10 and 007 stay text."""
    if not text.isprintable():
        raise SpecError("A tag's value holds control characters.", hint="Use plain text.")
    number = number_in(text)
    return number if number is not None and text in (repr(number), f"{number:.0f}") and len(text) <= 17 else text
