"""What may be kept of requests and answers: rules applied to whole columns, before anything is written.

Takes joined tensors of a version, its rules, and what its training data knew; gives columns as the log has them. Raises nothing: what a
rule asks for and a column cannot give, like buckets of a text, is hashed. What it returns holds no value that a rule forbids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import starmap
from typing import Any

import numpy as np

from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.core.observation_log import INPUT, OUTPUT, columns_of, is_text, row_width
from fairlead.core.profile import FeatureKind, Profile
from fairlead.core.redaction import RedactionRules, Rule, Treatment
from fairlead.core.summary import summaries

PREFIX = "hash:"
_REMEMBERED = 65_536  # texts whose treatment is remembered, for each column
_REMEMBERED_LENGTH = 128
_PIECE = 512  # texts that are treated before others have their turn

Columns = dict[str, Array]
Joined = Array | list[Array]


def _go_on() -> None:
    """Wait for nobody."""


@dataclass(frozen=True)
class Known:
    """What a version's training data says: the texts of categories by column, and the columns of which summaries are watched."""

    texts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    summarized: frozenset[str] = frozenset()


def known_of(interface: Interface, profile: Profile | None) -> Known:
    """Return what is known of a version's columns, by the log's names."""
    texts: dict[str, frozenset[str]] = {}
    summarized: set[str] = set()
    for feature in () if profile is None else profile.features:
        if feature.kind is FeatureKind.CATEGORY:
            texts[INPUT + feature.name] = frozenset(feature.categories)
        elif feature.kind is FeatureKind.SUMMARY:
            summarized.add(INPUT + feature.name.removesuffix(f".{feature.part}"))
    labels = frozenset(map(str, interface.labels))
    for spec in interface.outputs if labels else ():
        texts |= dict.fromkeys(columns_of(spec, OUTPUT), labels)
    return Known(texts, frozenset(summarized))


class Redactor:
    """Treats the tensors of one version. `key` makes the hashes; `pause` is called between pieces of long work."""

    def __init__(
        self, interface: Interface, rules: RedactionRules, known: Known, key: bytes, *, pause: Callable[[], None] = _go_on
    ) -> None:
        self._key, self._pause = key, pause
        self._specs = {INPUT: {spec.name: spec for spec in interface.inputs}, OUTPUT: {spec.name: spec for spec in interface.outputs}}
        self._rules, self._known = rules, known
        self._memos: dict[str, dict[str, str]] = {}
        self._found: dict[tuple[str, ...], Rule | None] = {}

    def columns(self, inputs: Mapping[str, Joined], outputs: Mapping[str, Joined]) -> Columns:
        """Return what may be kept of both."""
        found: Columns = {}
        for side, tensors in ((INPUT, inputs), (OUTPUT, outputs)):
            for name, tensor in tensors.items():
                spec = self._specs[side].get(name)
                if spec is not None:
                    found |= self._tensor(spec, side, tensor)
        return found

    def _tensor(self, spec: TensorSpec, side: str, tensor: Joined) -> Columns:
        names, width = columns_of(spec, side), row_width(spec)
        if isinstance(tensor, list) or width is None or len(names) != width or tensor.size != len(tensor) * width:
            return self._no_table(spec, side, tensor)
        rules = [self._rule(name, side + spec.name) for name in names]
        if is_text(spec):
            flat = tensor.reshape(len(tensor), width)
            return _merged(starmap(self._text, zip(names, rules, flat.T, strict=True)))
        table = np.ascontiguousarray(tensor.reshape(len(tensor), width).T)
        return _merged(starmap(self._number, zip(names, rules, table, strict=True)))

    def _rule(self, *names: str) -> Rule | None:
        if names not in self._found:
            self._found[names] = self._rules.find(*names)
        return self._found[names]

    # Numbers of tables.

    def _number(self, name: str, rule: Rule | None, column: Array) -> Columns:
        if rule is None or rule.treatment is Treatment.KEEP:
            return {name: column}
        if rule.treatment is Treatment.BUCKET:
            return {name: bucketed(column, rule.edges)}
        if rule.treatment in (Treatment.HASH, Treatment.KNOWN):
            return {name: self._hashed(name, [str(value) for value in column.tolist()], frozenset())}
        return {}

    # Texts.

    def _text(self, name: str, rule: Rule | None, column: Array) -> Columns:
        treatment = Treatment.KNOWN if rule is None else rule.treatment
        if treatment is Treatment.DROP:
            return {}
        if treatment is Treatment.KEEP:
            return {name: _objects([_plain(value) for value in column.tolist()])}
        found: Columns = {}
        if treatment is Treatment.SUMMARY or name in self._known.summarized:
            found |= self._summaries(name, column)
        if treatment is not Treatment.SUMMARY:
            known = self._known.texts.get(name, frozenset()) if treatment is Treatment.KNOWN else frozenset()
            found[name] = self._hashed(name, [_plain(value) for value in column.tolist()], known)
        return found

    def _hashed(self, name: str, texts: Sequence[str | None], known: frozenset[str]) -> Array:
        """Return texts as they are where they are known, and else their keyed hashes."""
        memo, found = self._memos.setdefault(name, {}), list[str | None]()
        for place in range(0, len(texts), _PIECE):
            if place:
                self._pause()
            for text in texts[place : place + _PIECE]:
                if text is None or text in known:
                    found.append(text)
                    continue
                hashed = memo.get(text)
                if hashed is None:
                    hashed = self._hash(text.encode("utf-8", "backslashreplace"))
                    if len(memo) >= _REMEMBERED:
                        memo.clear()
                    if len(text) <= _REMEMBERED_LENGTH:
                        memo[text] = hashed
                found.append(hashed)
        return _objects(found)

    def _hash(self, content: bytes) -> str:
        return PREFIX + blake2b(content, key=self._key, digest_size=8).hexdigest()

    # Images, wide rows, series.

    def _no_table(self, spec: TensorSpec, side: str, tensor: Joined) -> Columns:
        name = side + spec.name
        rule = self._rule(name)
        treatment = rule.treatment if rule is not None else Treatment.HASH if is_text(spec) else Treatment.SUMMARY
        rows = [row for part in tensor for row in part] if isinstance(tensor, list) else tensor
        if treatment is Treatment.DROP:
            return {}
        if treatment is Treatment.SUMMARY and not is_text(spec):
            return self._summaries(name, _objects(rows) if isinstance(rows, list) else rows)
        if treatment is Treatment.KEEP and not is_text(spec):
            return {name: _objects(rows) if isinstance(rows, list) else rows}
        if treatment is Treatment.BUCKET and rule is not None and not is_text(spec):
            return {name: _objects([bucketed(row, rule.edges) for row in rows]) if isinstance(rows, list) else bucketed(rows, rule.edges)}
        return {name: _objects([self._hash(_content(row)) for row in rows])}

    def _summaries(self, name: str, rows: Array) -> Columns:
        parts: list[Mapping[str, Array]] = []
        for place in range(0, len(rows), _PIECE):
            if place:
                self._pause()
            parts.append(summaries(rows[place : place + _PIECE]))
        names = sorted({key for part in parts for key in part})
        counts = [len(next(iter(part.values()))) for part in parts]
        return {
            f"{name}.{key}": np.concatenate([part.get(key, np.full(count, np.nan)) for part, count in zip(parts, counts, strict=True)])
            for key in names
        }


def bucketed(column: Array, edges: Sequence[float]) -> Array:
    """Return the lower edge of each number's bucket: a multiple of the width, or one of the edges; below the first, minus infinity."""
    numbers = np.asarray(column, np.float64)
    if len(edges) == 1:
        return np.asarray(np.floor(numbers / edges[0]) * edges[0])
    lower = np.concatenate([[-np.inf], edges])
    return np.where(np.isnan(numbers), np.nan, lower[np.searchsorted(edges, numbers, side="right")])


def _content(row: Array) -> bytes:
    if row.dtype.hasobject:
        return "\x00".join(str(_plain(value)) for value in row.ravel().tolist()).encode("utf-8", "backslashreplace")
    return np.ascontiguousarray(row).tobytes()


def _plain(value: Any) -> str | None:
    """Return a text as it is, None for a missing one (NaN stands for one, too)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None or value != value else str(value)  # noqa: PLR0124 - NaN


def _objects(items: Sequence[Any]) -> Array:
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def _merged(parts: Iterable[Columns]) -> Columns:
    return {name: column for part in parts for name, column in part.items()}
