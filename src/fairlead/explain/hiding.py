"""The features of a row, and the row with some of them hidden: what a black box can be asked.

Takes an interface, one row and background rows; gives a `Hiding`. A feature is a column of a table, an input of one number or text, a patch
of an image, a position of a sequence, or a word where the model takes one text; where a row has more than `limit`, neighbours are taken
together. What is hidden has the values of a background row there; hidden words are left out. Pure; raises UnsupportedError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec, shorten
from fairlead.core.row_parts import is_image, patches, runs, sides
from fairlead.errors import UnsupportedError

FEATURE_LIMIT = 256
PATCH_SIDE = 7  # patches along each side of an image
FEW_WORDS, MOST_WORDS = 64, 256  # of one text; where there are more, neighbours are taken together
_FEWEST_WORDS = 4  # of a text in a named column
_WORD = re.compile(r"\S+\s*")
_TEXT_LENGTH = 40


class Hiding(Protocol):
    """One row whose features can be hidden. `grid` is how many patches an image is high and wide."""

    @property
    def features(self) -> tuple[str, ...]:
        """What the features are called."""
        ...

    @property
    def given(self) -> tuple[str, ...]:
        """What the row has there, for a person."""
        ...

    @property
    def background_count(self) -> int:
        """How many rows hidden features can have the values of."""
        ...

    @property
    def grid(self) -> tuple[int, int] | None:
        """How many patches high and wide, where the features are those of an image."""
        ...

    def mixed(self, keep: Array, others: Array) -> dict[str, Array]:
        """Return the row with the features where `keep` (n, features) is False taken from background rows `others` (n,)."""
        ...


@dataclass(frozen=True)
class Layout:
    """Which elements of a row belong to which feature: `groups` has the row's shape for each input. Equal for all rows of a shape."""

    features: tuple[str, ...]
    groups: Mapping[str, Array]
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class TensorHiding:
    """A row of numbers or categories: `row` has one row, `background` some, both of the layout's shape."""

    layout: Layout
    row: Tensors
    background: Tensors

    @property
    def features(self) -> tuple[str, ...]:
        """What the features are called."""
        return self.layout.features

    @property
    def grid(self) -> tuple[int, int] | None:
        """How many patches high and wide, where the features are those of an image."""
        return self.layout.grid

    @property
    def given(self) -> tuple[str, ...]:
        """What the row has there: the value, or the mean of several."""
        found = [""] * len(self.features)
        for name, groups in self.layout.groups.items():
            values = self.row[name][0]
            for number in range(int(groups.min(initial=0)), int(groups.max(initial=-1)) + 1):
                inside = values[groups == number]
                if inside.size:
                    found[number] = told(inside)
        return tuple(found)

    @property
    def background_count(self) -> int:
        """How many background rows there are."""
        return len(next(iter(self.background.values())))

    def mixed(self, keep: Array, others: Array) -> dict[str, Array]:
        """Return rows that are the row's where `keep` says so, and a background row's elsewhere."""
        return {
            name: np.where(keep[:, groups], self.row[name], self.background[name][others]).astype(self.row[name].dtype, copy=False)
            for name, groups in self.layout.groups.items()
        }


@dataclass(frozen=True)
class TextHiding:
    """A text whose words can be left out. There is one background: the text without any word."""

    name: str
    shape: tuple[int, ...]
    words: tuple[str, ...]
    grid: tuple[int, int] | None = None
    background_count: int = 1

    @property
    def features(self) -> tuple[str, ...]:
        """The words with their places, so that no two are called alike."""
        return tuple(f"{place + 1}: {shorten(word.strip(), _TEXT_LENGTH)}" for place, word in enumerate(self.words))

    @property
    def given(self) -> tuple[str, ...]:
        """The words."""
        return tuple(shorten(word.strip(), _TEXT_LENGTH) for word in self.words)

    def mixed(self, keep: Array, others: Array) -> dict[str, Array]:
        """Return the text with the words that are kept; `others` has no say but for how many."""
        texts = ["".join(word for word, is_kept in zip(self.words, row, strict=True) if is_kept).rstrip() for row in keep]
        return {self.name: np.array(texts, dtype=object).reshape(len(others), *self.shape)}


def hiding_of(interface: Interface, row: Tensors, background: Tensors, limit: int = FEATURE_LIMIT) -> Hiding:
    """Return what can be hidden of `row` (one row of each input). Raises UnsupportedError for rows of another shape than the background."""
    text = text_of(interface, row, background, most=MOST_WORDS)
    if text is not None:
        return text
    for name, tensor in row.items():
        if background[name].shape[1:] != tensor.shape[1:]:
            raise UnsupportedError(
                f"Input '{shorten(name)}' has shape {list(tensor.shape[1:])} in this row and {list(background[name].shape[1:])} in the "
                "background rows, so nothing of it can be hidden.",
                hint="Give background rows of the same shape: --background FILE.",
            )
    return TensorHiding(layout_of(interface, row, limit), row, background)


def text_of(interface: Interface, row: Tensors, *others: Tensors, most: int = FEW_WORDS) -> TextHiding | None:
    """Return the text of `row` as words that can be left out, at most `most` or runs of them; None where the model takes something else.
    `others` are rows of the same model (see `text_input`).
    """
    spec = text_input(interface, row, *others)
    if spec is None:
        return None
    words = pieces_of(str(row[spec.name].reshape(-1)[0]))
    if not words:
        raise UnsupportedError("The text has no words, so none can matter.", hint="Give a text.")
    return TextHiding(spec.name, row[spec.name].shape[1:], tuple(_together(words, most)))


def pieces_of(text: str) -> list[str]:
    """Return the words of a text, each with the space behind it."""
    return _WORD.findall(text.lstrip())


def text_input(interface: Interface, rows: Tensors, *others: Tensors) -> TensorSpec | None:
    """Return the input that takes one free text, where it is the only one. A named column holds texts where any, of `rows` or of `others`,
    has more than a few words: the name of a category has not.
    """
    if len(interface.inputs) != 1 or interface.inputs[0].dtype is not DType.BYTES:
        return None
    spec = interface.inputs[0]
    if rows[spec.name][:1].size != 1:
        return None
    texts = (text for known in (rows, *others) for text in known[spec.name].reshape(-1))
    return spec if not spec.columns or any(len(str(text).split()) >= _FEWEST_WORDS for text in texts) else None


def layout_of(interface: Interface, rows: Tensors, limit: int = FEATURE_LIMIT, side: int = PATCH_SIDE) -> Layout:
    """Return the features of rows of these shapes; of images, `side` patches along each side."""
    features: list[str] = []
    groups: dict[str, Array] = {}
    grid = None
    share = max(limit // len(interface.inputs), 1)
    for spec in interface.inputs:
        shape = rows[spec.name].shape[1:]
        is_picture = is_image(shape)
        numbers, names = _patches(spec, shape, side) if is_picture else _runs(spec, shape, share)
        groups[spec.name] = numbers + len(features)
        features += names
        if is_picture and len(interface.inputs) == 1:
            grid = _grid(shape, side)
    return Layout(tuple(features), groups, grid)


def told(values: Array) -> str:
    """Return a value, or several, for a person."""
    if values.size == 1:
        value = values.reshape(-1)[0]
        return f"{value:.6g}" if values.dtype.kind == "f" else shorten(str(value), _TEXT_LENGTH)
    if values.dtype.kind not in "fiu":
        return f"{values.size} values"
    return f"mean {float(np.mean(values.astype(np.float64))):.4g}"


def _together(words: list[str], most: int) -> Iterator[str]:
    """Yield words, or runs of words where there are more than `most`."""
    size = -(-len(words) // most)
    for place in range(0, len(words), size):
        yield "".join(words[place : place + size])


def _grid(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = sides(shape)
    return min(side, height), min(side, width)


def _patches(spec: TensorSpec, shape: tuple[int, ...], side: int) -> tuple[Array, list[str]]:
    lines, places = _grid(shape, side)
    names = [f"{shorten(spec.name)} patch {y + 1},{x + 1}" for y in range(lines) for x in range(places)]
    return patches(shape, lines, places), names


def _runs(spec: TensorSpec, shape: tuple[int, ...], share: int) -> tuple[Array, list[str]]:
    """Number what lies along the first axis of a row, and name each run by its ends."""
    numbers = runs(shape, share)
    if not shape:
        return numbers, [spec.name]
    length = shape[0]
    firsts = np.searchsorted(runs((length,), share), np.arange(min(share, length)))
    lasts = np.append(firsts[1:], length) - 1
    known = spec.columns if len(shape) == 1 else ()
    labels = known or ((spec.name,) if length == 1 else tuple(f"{spec.name}[{place}]" for place in range(length)))
    names = [labels[first] if first == last else f"{labels[first]} to {labels[last]}" for first, last in zip(firsts, lasts, strict=True)]
    return numbers, names
