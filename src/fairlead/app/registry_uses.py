"""What uses a version now, in sentences: aliases and where they would go back to, releases, servers, processes of this machine, people.

`Uses` takes a House; gives sentences by version number. Raises StorageError, ConflictError (`require_none`). Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fairlead.app.registry_tags import PROTECTED, split_tags
from fairlead.app.servers import Roll, last_heard
from fairlead.app.wiring import House
from fairlead.core.fact import Traits
from fairlead.core.query import Query, Term
from fairlead.core.version import Version
from fairlead.errors import ConflictError
from fairlead.register.aliases import standing
from fairlead.register.approval import APPROVAL
from fairlead.register.promotion import describe, rejected, running
from fairlead.stores.leases import is_held

_EVERY = 1_000_000
_UNSTAGED = frozenset({"", "archived"})


class Uses:
    """Asks the registry who uses what. One for a whole clean-up: it gets to know which servers live."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._roll = Roll(house.records, house.clock)

    def of(self, name: str, versions: Sequence[Version]) -> Mapping[int, tuple[str, ...]]:
        """Return by number what uses each of the model's versions."""
        found: dict[int, dict[str, None]] = {}
        marked = self._house.records.find(Query((Term("name", "=", name),)), limit=_EVERY)
        by_people = ((hit.number, sentence) for hit in marked for sentence in _by_people(hit.traits))
        for number, sentence in (*self._all(name, versions), *by_people):
            found.setdefault(number, {})[sentence] = None
        return {number: tuple(sentences) for number, sentences in found.items()}

    def require_none(self, version: Version) -> None:
        """Raise ConflictError where something uses the version."""
        traits = self._house.records.traits(version.name, version.number)
        used = [sentence for number, sentence in self._all(version.name, [version]) if number == version.number]
        if sentences := [*used, *_by_people(traits)]:
            raise ConflictError(f"{sentences[0]}.")

    def _all(self, name: str, versions: Sequence[Version]) -> Iterator[tuple[int, str]]:
        """Yield by number what uses versions of the model, but for what people wrote on one."""
        records = self._house.records
        for alias, number in records.aliases(name).items():
            yield number, f"@{alias} points at it"
            yield from self._by_rollback(name, alias, versions)
        yield from self._by_releases(name)
        for label, sentence in self._by_servers():
            model, _, number_text = label.partition(":")
            if model == name:
                yield int(number_text), sentence
        yield from self._by_processes(versions)
        for fact in records.facts(APPROVAL, f"{name}:"):
            yield int(fact.key.partition(":")[2]), f"{fact.author} approved of it"

    def _by_rollback(self, name: str, alias: str, versions: Iterable[Version]) -> Iterator[tuple[int, str]]:
        """Yield the version before the present one, and where that was rejected by a gate, the one that a rollback goes back to instead."""
        records, sentence = self._house.records, f"a rollback of @{alias} goes back to it"
        before = standing(records.alias_history(name, alias))[-2::-1]
        yield from ((number, sentence) for number in before[:1])
        if {version.number for version in versions} & set(before[1:]):  # who was rejected is not looked up for nothing
            gone = rejected(name, records=records) | {one.number for one in records.retired(name)}
            yield from ((number, sentence) for number in [number for number in before if number not in gone][:1])

    def _by_releases(self, name: str) -> Iterator[tuple[int, str]]:
        for kept in running(self._house.records):
            if kept.release.name == name:
                yield from ((number, f"{describe(kept.release)} is running") for number in kept.release.in_use())

    def _by_processes(self, versions: Iterable[Version]) -> Iterator[tuple[int, str]]:
        for version in versions:
            if is_held(version.digest, self._house.loaded):
                yield version.number, "a process of this machine has it loaded"

    def _by_servers(self) -> Iterator[tuple[str, str]]:
        """Yield every version that a server has loaded: one that lives, or that was heard of lately."""
        living = self._roll.until(lambda _: False)
        for beat in living:
            yield from ((label, f"the server {beat.label} has it loaded") for label in beat.in_use())
        for beat in last_heard(self._house.records, self._house.clock(), but={beat.id for beat in living}):
            yield from ((label, f"the server {beat.label} had it loaded within the hour") for label in beat.in_use())


def _by_people(traits: Traits) -> Iterator[str]:
    tags, stage = split_tags(traits)
    if PROTECTED in tags:
        yield "it is tagged 'protected'"
    if stage not in _UNSTAGED:
        yield f"its stage is {stage}"
