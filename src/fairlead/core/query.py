"""Searching versions: what a person writes, and what is found. Pure values and one parser.

`parse_query` takes text like `framework:xgboost accuracy>0.9 alias:production name:dig*`; gives a Query, whose terms must all hold. Raises
SpecError that says which word is wrong. A store answers it; text is compared without regard to case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from fairlead.core.fact import TAG_PREFIX, Traits
from fairlead.errors import SpecError

ORDERS = (">=", "<=", ">", "<")
EQUALS = (":", "=", "!=")
QUERY_LIMIT = 1000  # characters
_STAGE = TAG_PREFIX + "stage"
_TEXTS = ("name", "alias", "tag", _STAGE)
_NUMBERS = ("number", "created")
_STARS_LIMIT = 4  # each more makes a comparison slower by the length of the text
_WORD = re.compile(r"""\s*(?:((?:tag:)?[A-Za-z][A-Za-z0-9_.-]*)(!=|>=|<=|:|=|>|<)("[^"]*"|[^\s"]+)|([^\s"<>=!]+))(?=\s|$)""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_HINT = "Write it like: framework:xgboost accuracy>0.9 alias:production name:dig*"


def number_in(value: str | float) -> float | None:
    """Return the finite number that `value` is or spells; None where it is another text."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else math.nan
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Term:
    """One condition. `:` compares a text by a pattern in which * stands for anything, and else like `=`; `!=` holds where `=` does not,
    so also where a version has nothing of that key. The orders compare numbers. Raises SpecError for what cannot be asked.

    Keys: name, number, alias, created (Unix seconds), tag (that there is one called so), tag:<tag>, and the traits of versions.
    """

    key: str
    op: str
    value: str | float

    def __post_init__(self) -> None:
        if self.op not in (*ORDERS, *EQUALS):
            raise SpecError(f"'{self.op[:16]}' compares nothing.", hint=f"There are {' '.join((*EQUALS, *ORDERS))}.")
        if self.op in ORDERS and self.key in _TEXTS:
            raise SpecError(f"'{self.key}' is a text: it has no order.", hint="Compare it with ':', '=' or '!='.")
        if (self.op in ORDERS or self.key in _NUMBERS) and number_in(self.value) is None:
            raise SpecError(f"'{str(self.value)[:64]}' is not a number, so '{self.key}{self.op}' cannot be asked.", hint=_HINT)
        if str(self.value).count("*") > _STARS_LIMIT:
            raise SpecError(f"'{str(self.value)[:64]}' holds too many *: at most {_STARS_LIMIT}.")

    @property
    def number(self) -> float:
        """The number to compare with; NaN where the value is another text."""
        found = number_in(self.value)
        return math.nan if found is None else found

    @property
    def is_pattern(self) -> bool:
        """Whether * in the value stands for anything."""
        return self.op == ":" and "*" in str(self.value)


@dataclass(frozen=True)
class Query:
    """All terms have to hold; none: every version."""

    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Hit:
    """A version that was found, with what is known of it: its traits, its tags (`tag:<tag>`) and the aliases that point at it."""

    name: str
    number: int
    digest: str
    created_at: float
    traits: Traits = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How a person writes the version: `digits:3`."""
        return f"{self.name}:{self.number}"


@dataclass(frozen=True)
class ModelSummary:
    """What is registered under one name: how many versions there are now, the newest, and where the aliases point."""

    name: str
    version_count: int
    latest: int
    aliases: Mapping[str, int]


def parse_query(text: str) -> Query:
    """Parse what a person searches for. A word alone is looked for in names; `created:2026-11-22` means that day, in UTC."""
    if len(text) > QUERY_LIMIT:
        raise SpecError(f"A search of {len(text):,} characters is too long: at most {QUERY_LIMIT:,}.", hint=_HINT)
    terms: list[Term] = []
    text, position = text.strip(), 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise SpecError(f"{text[position:].split()[0][:64]!r} is not something to search for.", hint=_HINT)
        key, op, value, alone = match.groups()
        terms += _terms(key.lower(), op, value.strip('"')) if key else [Term("name", ":", f"*{alone.lower()}*")]
        position = match.end()
    return Query(tuple(terms))


def _terms(key: str, op: str, value: str) -> list[Term]:
    """Return the conditions that one word stands for."""
    if not value:
        raise SpecError(f"'{key}{op}' lacks a value.", hint=_HINT)
    if key == "created":
        return _created(op, value)
    term = Term(_STAGE if key == "stage" else key, op, value)
    return [replace(term, value=term.number)] if op in ORDERS or key in _NUMBERS else [term]


def _created(op: str, value: str) -> list[Term]:
    """Return conditions on the time of registration; a date alone is the whole day."""
    number = number_in(value)
    if number is not None:
        if op in ORDERS:
            return [Term("created", op, number)]
        raise SpecError("'created' is compared with a date, or with >, >=, < or <=.", hint="Write it like created>=2026-11-01.")
    try:
        begin = datetime.fromisoformat(value)
        begin = begin.replace(tzinfo=begin.tzinfo or UTC)
        end = begin + timedelta(days=1) if len(value) <= len("2026-11-22") else begin + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise SpecError(f"'{value[:64]}' is not a date.", hint="Write it like created>=2026-11-01.") from None
    first, after = Term("created", ">=", begin.timestamp()), Term("created", "<", end.timestamp())
    match op:
        case ">=":
            return [first]
        case "<":
            return [Term("created", "<", first.value)]
        case ">":
            return [Term("created", ">=", after.value)]
        case "<=":
            return [after]
        case "!=":
            raise SpecError("'created' cannot be asked with '!='.", hint="Use created< or created>=.")
        case _:
            return [first, after]
