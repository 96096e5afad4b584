"""Searching the registry: what a person asks for, and which versions there are to answer.

`search` takes a House and text, gives Found. Raises SpecError for a query that cannot be read, or that names what no version knows: an
empty answer to a misspelt word would be a wrong one. Changes nothing but that old versions are given the traits that their files show.
"""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass

from fairlead.app.registry_traits import catch_up
from fairlead.app.wiring import House
from fairlead.core.fact import BUILT_IN, TAG_PREFIX
from fairlead.core.query import Hit, Query, Term, parse_query
from fairlead.errors import SpecError

_STAGE = TAG_PREFIX + "stage"  # written `stage`
_SAMPLE_COUNT = 200  # versions that are looked into to say which words there are


@dataclass(frozen=True)
class Found:
    """The versions that were asked for. `keys` are the traits that the query names; `is_cut`: there are more than that; `is_empty`: nothing
    is registered.
    """

    query: str
    hits: tuple[Hit, ...]
    keys: tuple[str, ...]
    is_cut: bool = False
    is_empty: bool = False


def search(text: str, house: House, *, limit: int = 100) -> Found:
    """Return the versions for which every word of `text` holds, at most `limit`."""
    query = parse_query(text)
    catch_up(house)
    hits = house.records.find(query, limit=limit + 1)
    if not hits and not house.records.names():
        return Found(text, (), (), is_empty=True)
    asked = tuple(dict.fromkeys(term.key for term in query.terms if term.key not in BUILT_IN))
    for term in query.terms:
        if term.key not in BUILT_IN and (not hits or term.op == "!="):
            _require_known(term.key, house)
    return Found(text, hits[:limit], asked, is_cut=len(hits) > limit)


def _require_known(key: str, house: House) -> None:
    """Raise SpecError where no version has anything under `key`."""
    for term in (Term(key, ":", "*"), Term(key, ">=", -sys.float_info.max)):
        if house.records.find(Query((term,)), limit=1):
            return
    sample = house.records.find(Query(), limit=_SAMPLE_COUNT)
    known = sorted({key for hit in sample for key in hit.traits if key != _STAGE} | BUILT_IN)
    if house.records.find(Query((Term("tag", "=", key),)), limit=1):
        hint = f"It is a tag: write {TAG_PREFIX}{key}=..."
    else:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f"{f'Did you mean {near[0]}? ' if near else ''}There are: {', '.join(known)}."
    raise SpecError(f"No version knows '{key}'.", hint=hint)
