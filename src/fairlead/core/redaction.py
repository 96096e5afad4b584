"""Rules for what may be kept of inputs and answers: by the names of columns, the first that fits counts. Pure values and a parser.

`parse_rules` takes text like `email=drop, age=bucket(10), city=keep, *_id=hash`; raises SpecError that says which rule is wrong. Law: what
no rule names is treated by its kind: numbers in tables are kept, texts that nobody knows are hashed, and of what is no table a summary is
kept; names that sound like a secret or a person's are dropped. A value that is dropped, hashed or bucketed is nowhere kept as it was.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fairlead.errors import SpecError

_RULE = re.compile(r"\s*([^=,()]+?)\s*=\s*([a-z]+)\s*(?:\(([^()]*)\))?\s*(?:,|;|$)")
_HINT = "Write them like: email=drop, age=bucket(10), income=bucket(1000;5000;20000), city=keep, *_id=hash"
_RULE_LIMIT, _EDGE_LIMIT, _NAME_LIMIT = 256, 256, 128


class Treatment(enum.StrEnum):
    """What is done with a column."""

    KEEP = "keep"
    DROP = "drop"
    HASH = "hash"  # equal values stay equal
    KNOWN = "known"  # texts that the version's training data had stay; others are hashed
    BUCKET = "bucket"  # a number becomes the lower edge of its bucket
    SUMMARY = "summary"  # of a list of numbers, or a text: mean, length, ...


@dataclass(frozen=True)
class Rule:
    """`pattern` is a name, in which * stands for anything, without regard to case; one that begins with `input:` or `output:` is for that
    side. `edges` are those of buckets: one is their width, several are where they begin.
    """

    pattern: str
    treatment: Treatment
    edges: tuple[float, ...] = ()

    def fits(self, column: str) -> bool:
        """Whether the rule is for a column (`input:age`, or what a tensor is called)."""
        name, pattern = column.lower(), self.pattern.lower()
        if fnmatchcase(name, _literal(pattern)):
            return True
        return ":" not in pattern and fnmatchcase(name.partition(":")[2], _literal(pattern))

    def __str__(self) -> str:
        edges = f"({';'.join(repr(edge).removesuffix('.0') for edge in self.edges)})" if self.edges else ""
        return f"{self.pattern}={self.treatment.value}{edges}"


# Words of names that sound like a secret, or like what tells who a person is. They are dropped where no rule says otherwise.
_PRIVATE = frozenset(
    """
    password passwd passphrase secret api_key apikey access_key private_key credential credentials authorization cookie session_id
    access_token auth_token api_token refresh_token session_token ssn social_security national_id passport iban account_number card_number
    credit_card cardnumber cvv e_mail email phone telephone first_name last_name full_name surname firstname lastname maiden_name birthday
    date_of_birth birth_date dob home_address street_address postal_address ip_address
    """.split()  # noqa: SIM905 - fifty words in quotation marks are harder to read
)
_PRIVATE_WHOLE = frozenset({"token", "key", "pin", "address", "name"})  # as a part of a name they are harmless: token_type_ids
_BETWEEN = re.compile(r"[^a-z0-9]+")


def sounds_private(column: str) -> bool:
    """Whether a column's name has a word, or words, of a secret or of a person: `user.email`, `cardNumber`, `home address`."""
    name = column.partition(":")[2] or column
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    plain = _BETWEEN.sub("_", words.lower()).strip("_")
    return plain in _PRIVATE_WHOLE or any(f"_{word}_" in f"_{plain}_" for word in _PRIVATE)


@dataclass(frozen=True)
class RedactionRules:
    """Rules in their order; the first one that fits a column counts."""

    rules: tuple[Rule, ...] = ()

    def find(self, *columns: str) -> Rule | None:
        """Return the first rule for a column that is called by any of these names; None where none says anything."""
        for rule in self.rules:
            if any(rule.fits(column) for column in columns):
                return rule
        return Rule(columns[0], Treatment.DROP) if any(sounds_private(column) for column in columns) else None

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))


def parse_rules(text: str) -> RedactionRules:
    """Parse rules as a person writes them; none for an empty text."""
    rules: list[Rule] = []
    position = 0
    while text[position:].strip():
        match = _RULE.match(text, position)
        if match is None:
            raise SpecError(f"'{text[position:].strip()[:64]}' is no rule.", hint=_HINT)
        rules.append(_rule(*match.groups()))
        position = match.end()
    if len(rules) > _RULE_LIMIT:
        raise SpecError(f"There are {len(rules)} rules, allowed are {_RULE_LIMIT}.")
    return RedactionRules(tuple(rules))


def _rule(pattern: str, word: str, inside: str | None) -> Rule:
    if word not in {item.value for item in Treatment}:
        raise SpecError(f"'{word[:32]}' is nothing that is done with a column.", hint=f"There are {', '.join(Treatment)}.")
    if len(pattern) > _NAME_LIMIT:
        raise SpecError(f"The name '{pattern[:32]}…' is too long: at most {_NAME_LIMIT} characters.")
    treatment = Treatment(word)
    if treatment is not Treatment.BUCKET:
        if inside is not None:
            raise SpecError(f"'{word}' takes nothing in parentheses.", hint=_HINT)
        return Rule(pattern, treatment)
    return Rule(pattern, treatment, _edges(pattern, inside))


def _edges(pattern: str, inside: str | None) -> tuple[float, ...]:
    try:
        edges = tuple(float(part) for part in (inside or "").split(";"))
    except ValueError:
        edges = ()
    if not edges or not all(map(math.isfinite, edges)) or (len(edges) == 1 and edges[0] <= 0) or list(edges) != sorted(set(edges)):
        raise SpecError(f"The buckets of '{pattern[:64]}' are no width, and no growing edges.", hint=_HINT)
    if len(edges) > _EDGE_LIMIT:
        raise SpecError(f"'{pattern[:64]}' has {len(edges)} edges, allowed are {_EDGE_LIMIT}.")
    return edges


def _literal(pattern: str) -> str:
    """Let only * stand for something else: columns are called `x[0]`."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def merged(*given: RedactionRules) -> RedactionRules:
    """Return rules of which the first set counts before the second, and so on."""
    rules: Sequence[Rule] = [rule for item in given for rule in item.rules]
    return RedactionRules(tuple(rules))
