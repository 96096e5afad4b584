"""The fake RecordStore: what core.ports.RecordStore says, in dictionaries under one lock. It sits the same exam as the real ones."""

from __future__ import annotations

import fnmatch
import json
import threading
import time
from collections.abc import Mapping

from fairlead.core import fact as rules
from fairlead.core.fact import NO_TRAITS, TAG, TAG_PREFIX, Change, Fact, Report, Retirement, Traits, parse_tag_key, tag_value
from fairlead.core.manifest import Manifest
from fairlead.core.query import Hit, ModelSummary, Query, Term
from fairlead.core.version import AliasMove, Version, check_alias, check_name
from fairlead.errors import ConflictError, NotFoundError


class MemoryRecords:
    """A RecordStore for tests of what uses one."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._versions: dict[str, list[Version]] = {}
        self._traits: dict[tuple[str, int], dict[str, str | float]] = {}
        self._retired: dict[str, dict[int, Retirement]] = {}
        self._moves: list[AliasMove] = []
        self._facts: list[Fact] = []
        self._reports: dict[tuple[str, str], Report] = {}
        self._changes: list[Change] = []

    def add_version(self, name: str, manifest: Manifest, created_at: float, traits: Traits = NO_TRAITS) -> Version:
        check_name(name)
        rules.check_traits(traits)
        rules.check_time(created_at)
        with self._changed:
            version = Version(name, len(self._versions.get(name, [])) + 1, manifest, created_at)
            self._versions.setdefault(name, []).append(version)
            self._traits[name, version.number] = {key: _kept(value) for key, value in traits.items()}
            detail = {"name": name, "number": version.number, "digest": version.digest}
            self._tell("version.created", version.label, created_at, detail)
            return version

    def version(self, name: str, number: int) -> Version:
        known = self._versions.get(name, [])
        if not 1 <= number <= len(known):
            raise NotFoundError(f"There is no version {name}:{number}.", hint=f"{name} has versions 1 to {len(known)}.")
        if gone := self._retired.get(name, {}).get(number):
            raise NotFoundError(f"{name}:{number} was retired at {gone.at}: {gone.reason}")
        return known[number - 1]

    def latest(self, name: str) -> Version | None:
        return self.versions(name)[-1] if self.versions(name) else None

    def versions(self, name: str) -> tuple[Version, ...]:
        gone = self._retired.get(name, {})
        return tuple(version for version in self._versions.get(name, ()) if version.number not in gone)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self._versions if self.versions(name)))

    def summaries(self) -> tuple[ModelSummary, ...]:
        return tuple(
            ModelSummary(name, len(self.versions(name)), self.versions(name)[-1].number, self.aliases(name)) for name in self.names()
        )

    def retire_version(self, name: str, number: int, *, at: float, reason: str, after: int | None = None) -> None:
        rules.check_time(at)
        with self._changed:
            if after is not None and self.sequence() != after:
                raise ConflictError(f"The registry has changed meanwhile: its sequence is {self.sequence()}, not {after}.")
            version = self.version(name, number)
            if number in self.aliases(name).values():
                raise ConflictError(f"{version.label} cannot go: an alias points at it.")
            rules.check_text(reason, "a reason")
            self._retired.setdefault(name, {})[number] = Retirement(number, at, reason, version.digest)
            self._tell("version.retired", version.label, at, {"name": name, "number": number, "reason": reason})

    def retired(self, name: str) -> tuple[Retirement, ...]:
        return tuple(item for _, item in sorted(self._retired.get(name, {}).items()))

    def traits(self, name: str, number: int) -> Traits:
        self.version(name, number)
        return dict(self._traits[name, number])

    def add_traits(self, name: str, number: int, traits: Traits) -> None:
        rules.check_traits(traits)
        known = self.traits(name, number)
        for key, value in traits.items():
            if known.get(key, _kept(value)) != value:
                raise ConflictError(f"'{key}' of {name}:{number} is {known[key]!r}, not {value!r}.")
        self._traits[name, number] |= {key: _kept(value) for key, value in traits.items()}

    def find(self, query: Query, *, limit: int = 1000) -> tuple[Hit, ...]:
        hits = [self._hit(version) for name in self.names() for version in self.versions(name)]
        return tuple(hit for hit in hits if all(holds(term, hit) for term in query.terms))[:limit]

    def _hit(self, version: Version) -> Hit:
        traits = dict(sorted(self._traits[version.name, version.number].items()))
        pointing = sorted(alias for alias, number in self.aliases(version.name).items() if number == version.number)
        return Hit(version.name, version.number, version.digest, version.created_at, traits, tuple(pointing))

    def move_alias(
        self, name: str, alias: str, number: int, *, expected: int, moved_at: float, reason: str, after: int | None = None, author: str = ""
    ) -> AliasMove:
        check_alias(alias)
        rules.check_time(moved_at)
        if author:
            rules.check_text(author, "an author")
        with self._changed:
            self.version(name, number)
            current = self.aliases(name).get(alias, 0)
            if current != expected:
                raise ConflictError(f"{name}@{alias} points at version {current}, not at version {expected}.")
            history = self.alias_history(name, alias)
            if after is not None and (history[-1].sequence if history else 0) != after:
                raise ConflictError(f"{name}@{alias} has moved meanwhile, and points at version {current} again.")
            detail = {"name": name, "alias": alias, "number": number, "previous": current, "reason": reason, "author": author}
            sequence = self._tell("alias.moved", f"{name}@{alias}", moved_at, detail)
            self._moves.append(AliasMove(name, alias, number, current, moved_at, sequence, reason, author))
            return self._moves[-1]

    def aliases(self, name: str) -> Mapping[str, int]:
        return {move.alias: move.number for move in self._moves if move.name == name}

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        return tuple(move for move in self._moves if (move.name, move.alias) == (name, alias))

    def put_fact(self, kind: str, key: str, body: str | None, *, expected: int, at: float, author: str) -> Fact:
        rules.check_kind(kind)
        rules.check_key(key)
        rules.check_text(author, "an author")
        rules.check_time(at)
        if body is not None:
            rules.check_body(body)
        with self._changed:
            held = self.fact(kind, key)
            if (held.revision if held else 0) != expected:
                raise ConflictError(f"{kind} '{key}' is at revision {held.revision if held else 0}, not at revision {expected}.")
            if kind == TAG:
                self._retag(key, body)
            revision = len(self.fact_history(kind, key)) + 1
            detail = {"kind": kind, "key": key, "revision": revision, "author": author, "is_removed": body is None}
            sequence = self._tell("fact.changed", f"{kind}/{key}", at, detail)
            self._facts.append(Fact(kind, key, revision, body, at, author, sequence))
            return self._facts[-1]

    def _retag(self, key: str, body: str | None) -> None:
        name, number, tag = parse_tag_key(key)
        self.version(name, number)
        value = None if body is None else tag_value(body)
        self._traits[name, number].pop(TAG_PREFIX + tag, None)
        if value is not None:
            self._traits[name, number][TAG_PREFIX + tag] = value

    def fact(self, kind: str, key: str) -> Fact | None:
        history = self.fact_history(kind, key)
        return history[-1] if history and history[-1].body is not None else None

    def facts(self, kind: str, prefix: str = "") -> tuple[Fact, ...]:
        newest = {item.key: item for item in self._facts if item.kind == kind and item.key.startswith(prefix)}
        return tuple(item for _, item in sorted(newest.items()) if item.body is not None)

    def fact_history(self, kind: str, key: str) -> tuple[Fact, ...]:
        return tuple(item for item in self._facts if (item.kind, item.key) == (kind, key))

    def put_report(self, kind: str, key: str, body: str, at: float) -> None:
        self._reports[rules.check_kind(kind), rules.check_key(key)] = Report(kind, key, rules.check_body(body), rules.check_time(at))

    def reports(self, kind: str, prefix: str = "") -> tuple[Report, ...]:
        return tuple(item for place, item in sorted(self._reports.items()) if place[0] == kind and place[1].startswith(prefix))

    def drop_report(self, kind: str, key: str) -> None:
        self._reports.pop((kind, key), None)

    def changes(self, since: int, limit: int = 1000) -> tuple[Change, ...]:
        return tuple(self._changes[since : since + limit])

    def sequence(self) -> int:
        return len(self._changes)

    def wait_for_change(self, since: int, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self.sequence() == since and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return self.sequence()

    def _tell(self, kind: str, subject: str, at: float, detail: Mapping[str, str | int]) -> int:
        self._changes.append(Change(len(self._changes) + 1, kind, subject, at, json.loads(json.dumps(detail))))
        self._changed.notify_all()
        return len(self._changes)


def _kept(value: str | float) -> str | float:
    return value if isinstance(value, str) else float(value)


def holds(term: Term, hit: Hit) -> bool:
    """Whether one condition holds, in the plainest words; the stores' SQL has to agree."""
    if term.op == "!=":
        return not holds(Term(term.key, "=", term.value), hit)
    if term.key in {"number", "created"}:
        return ordered(float(hit.number if term.key == "number" else hit.created_at), term)
    texts: list[str | float]
    if term.key == "tag":
        texts = [key.removeprefix(TAG_PREFIX) for key in hit.traits if key.startswith(TAG_PREFIX)]
    elif term.key in {"name", "alias"}:
        texts = [hit.name] if term.key == "name" else list(hit.aliases)
    else:
        texts = [hit.traits[term.key]] if term.key in hit.traits else []
    return any(compares(text, term) for text in texts)


def compares(held: str | float, term: Term) -> bool:
    if term.op in {">", "<", ">=", "<="}:
        return isinstance(held, float) and ordered(held, term)
    if isinstance(held, float):
        return held == term.number
    wanted = str(term.value).casefold()
    if term.is_pattern:
        return fnmatch.fnmatchcase(held.casefold(), wanted.replace("[", "[[]").replace("?", "[?]"))
    return held.casefold() == wanted


def ordered(held: float, term: Term) -> bool:
    bound = term.number
    signs = {">": held > bound, "<": held < bound, ">=": held >= bound, "<=": held <= bound}
    return signs.get(term.op, held == bound)
