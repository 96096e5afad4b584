"""Long lists in JSON, found and decoded a piece at a time, so that nobody else waits for a large body.

A decoder holds the interpreter's lock until it is done: some 5 ms for each MiB. So the text is looked through once for where lists begin
and end that are longer than a piece. Each becomes a mark in what is left, its skeleton, which is decoded as usual, and is itself
decoded in runs of whole elements; what of a run is itself too long is a list in its turn.

Takes the text; gives a Skeleton: values with marks for lists, and what they stand for. Raises RequestError for what is not JSON. Laws: with
its lists filled in, a skeleton is what the decoder makes of the whole text; nothing is taken that the decoder would not take, since every
byte of the text is decoded by it, in one piece or another.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import numpy as np

from fairlead.errors import RequestError
from fairlead.serve.http.body import unreadable
from fairlead.serve.steps import PIECE_BYTES, Steps

Decode: TypeAlias = Callable[[bytes], Any]
_ANY: Decode = msgspec.json.Decoder(Any).decode
_MARK = f"long list {secrets.token_hex(16)} "  # nobody can send it
_IS_STRUCTURE = np.zeros(256, dtype=np.bool_)
_IS_STRUCTURE[list(b'[]{},"')] = True
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_NO_BACKSLASH = re.compile(rb"[^\\]")
_COMMA, _QUOTE, _OPEN, _CLOSE = b',"[]'


class LongList(msgspec.Struct, eq=False):
    """A list in a text: its brackets stand at `start` and before `end`. `cuts` are commas between its elements, about one in each piece;
    `children` are the long lists in it, in order.
    """

    start: int
    level: int
    is_list: bool
    end: int = 0
    cuts: list[int] = []
    children: list[LongList] = []

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Runs of whole elements, without the commas between them."""
        starts = [self.start + 1, *(cut + 1 for cut in self.cuts)]
        return list(zip(starts, [*self.cuts, self.end - 1], strict=True))

    def has_child(self, start: int, end: int) -> bool:
        """Whether a long list stands between these places."""
        return any(start <= child.start < end for child in self.children)


class Skeleton(msgspec.Struct, frozen=True):
    """What a text holds: `value` has a mark for each of `lists`."""

    text: bytes | bytearray
    value: Any
    lists: dict[str, LongList]
    decode: Decode

    def list_at(self, value: Any) -> LongList | None:
        """Return what `value` stands for, if it is a mark."""
        if type(value) is list and len(value) == 1 and type(value[0]) is list and len(value[0]) == 1 and type(value[0][0]) is str:
            return self.lists.get(value[0][0])
        return None

    def filled(self, value: Any) -> Steps[Any]:
        """Return `value` with the lists in it."""
        found = self.list_at(value)
        if found is not None:
            return (yield from self.elements(found))
        if type(value) is list:
            for place, item in enumerate(value):
                if type(item) in {list, dict}:
                    value[place] = yield from self.filled(item)
        elif type(value) is dict:
            for key, item in value.items():
                if type(item) in {list, dict}:
                    value[key] = yield from self.filled(item)
        return value

    def elements(self, found: LongList) -> Steps[list[Any]]:
        """Return a long list, with all that is in it."""
        values: list[Any] = []
        for start, end in found.pieces:
            values += yield from self.run(found, start, end)
            yield
        return values

    def opened(self, found: LongList) -> Steps[list[Any]]:
        """Return a long list whose own long lists are marks."""
        self.lists.update(_named(found.children))
        values: list[Any] = []
        for start, end in found.pieces:
            values += self._marked(found, start, end)
            yield
        return values

    def run(self, found: LongList, start: int, end: int) -> Steps[list[Any]]:
        """Return the elements of one of its pieces."""
        values = self._marked(found, start, end)
        if found.has_child(start, end):
            self.lists.update(_named(found.children))
            values = yield from self.filled(values)
        return values

    def _marked(self, found: LongList, start: int, end: int) -> list[Any]:
        children = [child for child in found.children if start <= child.start < end]
        values: list[Any] = _decoded(self.decode, b"[%b]" % _with_marks(self.text, start, end, children), start)
        if not values and found.cuts:
            raise RequestError(f"The body is not JSON: a comma without an element beside it, near byte {end}.")
        return values


def read_skeleton(text: bytes | bytearray, decode: Decode = _ANY, piece_bytes: int = PIECE_BYTES) -> Steps[Skeleton]:
    """Return the skeleton of a text; `decode` is given each part of it."""
    found = yield from find_lists(text, piece_bytes)
    value = _decoded(decode, _with_marks(text, 0, len(text), found), 0)
    return Skeleton(text, value, _named(found), decode)


def find_lists(text: bytes | bytearray, piece_bytes: int = PIECE_BYTES) -> Steps[list[LongList]]:
    """Return the lists that are longer than a piece and in no other such list; the others are their children."""
    scan = _Scan(piece_bytes)
    place = 0
    while place < len(text):
        end = min(place + piece_bytes, len(text))
        if text[end - 1] == 0x5C:  # a backslash and what it escapes belong to one part
            other = _NO_BACKSLASH.search(text, end)
            end = len(text) if other is None else other.end()
        scan.take(text[place:end], place)
        place = end
        yield
    scan.end()
    return scan.found


class _Scan:
    """Looks through a text, part by part. `open` are the lists and objects in which it stands, by level, the outermost first."""

    def __init__(self, piece_bytes: int) -> None:
        self.found: list[LongList] = []
        self._piece_bytes = piece_bytes
        self._open: list[LongList] = []
        self._level = 0
        self._is_inside = 0  # of a text

    def end(self) -> None:
        """The text is over."""
        if self._level or self._is_inside:
            raise RequestError("The body is not JSON: it ends too early.")

    def take(self, part: bytes | bytearray, offset: int) -> None:
        """Look through the next part of the text, which begins at `offset`."""
        if b"\\" in part:
            part = part.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        codes = np.frombuffer(part, np.uint8)
        places = np.flatnonzero(_IS_STRUCTURE[codes])
        codes = codes[places]
        if self._is_inside or b'"' in part:
            inside = (np.cumsum(codes == _QUOTE, dtype=np.int32) + self._is_inside) & 1
            self._is_inside = int(inside[-1]) if inside.size else self._is_inside
            is_outside = inside == 0
            places, codes = places[is_outside], codes[is_outside]
        if not places.size:
            return
        steps = _STEPS[codes]
        levels = np.cumsum(steps, dtype=np.int32) + self._level
        lowest = min(int(levels.min()), self._level)
        if lowest < 0:
            raise RequestError("The body is not JSON: it closes what it has not opened.")
        commas = np.flatnonzero(codes == _COMMA)
        places += offset
        self._close_above(lowest, places, codes, levels, commas)
        if self._open and self._open[-1].level == lowest:
            _cut_last(self._open[-1], places, commas[levels[commas] == lowest])
        self._level = int(levels[-1])
        openings = np.flatnonzero(steps == 1)
        for level in range(lowest + 1, self._level + 1):
            first = int(openings[levels[openings] == level][-1])
            item = LongList(int(places[first]), level, bool(codes[first] == _OPEN), cuts=[], children=[])
            _cut_last(item, places, commas[(commas > first) & (levels[commas] == level)])
            self._open.append(item)

    def _close_above(self, lowest: int, places: _Ints, codes: _Ints, levels: _Ints, commas: _Ints) -> None:
        while self._open and self._open[-1].level > lowest:
            item = self._open.pop()
            last = int(np.argmax(levels < item.level))
            if (codes[last] == _CLOSE) != item.is_list:
                raise RequestError(f"The body is not JSON: a bracket at byte {int(places[last])} closes another one.")
            _cut_last(item, places, commas[(commas < last) & (levels[commas] == item.level)])
            item.end = int(places[last]) + 1
            if item.is_list and item.end - item.start > self._piece_bytes:
                around = next((other for other in reversed(self._open) if other.is_list), None)
                (self.found if around is None else around.children).append(item)


_Ints: TypeAlias = "np.ndarray[tuple[int], np.dtype[Any]]"


def _cut_last(item: LongList, places: _Ints, commas: _Ints) -> None:
    if commas.size:
        item.cuts.append(int(places[commas[-1]]))


def _named(lists: list[LongList]) -> dict[str, LongList]:
    return {f"{_MARK}{item.start}": item for item in lists}


def _with_marks(text: bytes | bytearray, start: int, end: int, lists: list[LongList]) -> bytes:
    parts, place = [], start
    for item in lists:
        parts += [text[place : item.start], f'[["{_MARK}{item.start}"]]'.encode()]
        place = item.end
    return b"".join([*parts, text[place:end]])


def _decoded(decode: Decode, text: bytes, start: int) -> Any:
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = unreadable(error)
        raise RequestError(f"{problem.message} It is in what begins at byte {start} of the body." if start else problem.message) from None
