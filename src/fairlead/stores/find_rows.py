"""A search for versions as one statement, for any SQL store.

Takes an open transaction and a Query; gives Hits. Every part of the statement stands here; what a person wrote is only ever a value.
"""

# ruff: noqa: S608 - every part of a statement stands in this file; what comes from outside is only ever a value

from __future__ import annotations

import math

from fairlead.core.fact import TAG_PREFIX
from fairlead.core.query import ORDERS, Hit, Query, Term
from fairlead.stores.rows import Transaction, Value

Part = tuple[str, list[Value]]

_LIVE = "NOT EXISTS (SELECT 1 FROM retirements r WHERE r.name = v.name AND r.number = v.number)"
_OF_TRAIT = "(v.name, v.number) {has} (SELECT t.name, t.number FROM traits t WHERE t.key = ?{condition})"
_OF_ALIAS = "(v.name, v.number) {has} (SELECT h.name, h.number FROM alias_heads h WHERE {condition})"
_COLUMNS = {"number": "v.number", "created": "v.created_at"}
_ALIASES = "SELECT h.name, h.number, h.alias FROM alias_heads h ORDER BY h.alias"


def find(transaction: Transaction, query: Query, limit: int) -> tuple[Hit, ...]:
    """Return the versions for which every term holds, by name and number."""
    parts = [_part(term) for term in query.terms]
    where = " AND ".join([_LIVE, *(text for text, _ in parts)])
    values = [value for _, given in parts for value in given]
    chosen = f"SELECT v.name, v.number, v.digest, v.created_at FROM versions v WHERE {where} ORDER BY v.name, v.number LIMIT ?"
    whole = f"""SELECT c.name, c.number, c.digest, c.created_at, t.key, t.text, t.value FROM ({chosen}) c
        LEFT JOIN traits t ON t.name = c.name AND t.number = c.number ORDER BY c.name, c.number, t.key"""
    found: dict[tuple[str, int], tuple[str, float, dict[str, str | float]]] = {}
    for name, number, digest, created_at, key, text, value in transaction.rows(whole, *values, limit):
        known = found.setdefault((name, number), (digest, created_at, {}))[2]
        if key is not None:
            known[key] = value if text is None else text
    pointing: dict[tuple[str, int], list[str]] = {}
    for name, number, alias in transaction.rows(_ALIASES):
        pointing.setdefault((name, number), []).append(alias)
    return tuple(
        Hit(place[0], place[1], digest, created_at, known, tuple(pointing.get(place, ())))
        for place, (digest, created_at, known) in found.items()
    )


def _part(term: Term) -> Part:
    """Return one condition and its values."""
    if term.key in _COLUMNS:
        sign = {":": "=", "!=": "<>"}.get(term.op, term.op)
        return f"{_COLUMNS[term.key]} {sign} CAST(? AS DOUBLE PRECISION)", [term.number]
    has, value = "NOT IN" if term.op == "!=" else "IN", str(term.value).casefold()
    text = "{column} LIKE ? ESCAPE '!'" if term.is_pattern else "{column} = ?"
    given = _pattern(value) if term.is_pattern else value
    if term.key == "name":
        return ("NOT " if has == "NOT IN" else "") + text.format(column="v.name"), [given]
    if term.key == "alias":
        return _OF_ALIAS.format(has=has, condition=text.format(column="h.alias")), [given]
    if term.key == "tag":
        return _OF_TRAIT.format(has=has, condition="").replace("t.key = ?", text.format(column="t.key")), [TAG_PREFIX + str(given)]
    if term.op in ORDERS:
        return _OF_TRAIT.format(has=has, condition=f" AND t.value {term.op} ?"), [term.key, term.number]
    if math.isnan(term.number):
        return _OF_TRAIT.format(has=has, condition=f" AND {text.format(column='t.folded')}"), [term.key, given]
    return _OF_TRAIT.format(has=has, condition=" AND (t.folded = ? OR t.value = ?)"), [term.key, value, term.number]


def _pattern(value: str) -> str:
    """Return the pattern of LIKE in which * is anything and everything else is itself."""
    for sign in "!%_":
        value = value.replace(sign, "!" + sign)
    return value.replace("*", "%")
