"""What a card is made of, and how it becomes Markdown: headings, sentences, lists and tables. Pure.

Texts hold code between backticks; everything that comes from a model, a data file or a person goes through `plain` first, after which it
has nothing that Markdown or HTML would read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairlead.core.interface import shorten


@dataclass(frozen=True)
class Heading:
    """The title of the card (level 1) or of a section (level 2)."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Sentence:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: tuple[str, ...]
    is_numbered: bool = False


@dataclass(frozen=True)
class Grid:
    """A table; columns named in `numbers` (by place) are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


Block = Heading | Sentence | Items | Grid


def plain(text: str, limit: int = 64) -> str:
    """Return `text` without what Markdown or HTML would read as markup, at most `limit` characters."""
    return "".join("'" if letter == "`" else "¦" if letter == "|" else "‹" if letter == "<" else letter for letter in shorten(text, limit))


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Return names as code, the first `limit` of them."""
    said = [f"`{plain(name)}`" for name in names]
    return ", ".join(said[:limit]) + (f" and {len(said) - limit} more" if len(said) > limit else "")


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the card as Markdown."""
    return "\n".join(line for block in blocks for line in _lines(block)) + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' * block.level} {block.text}"
    elif isinstance(block, Sentence):
        yield block.text
    elif isinstance(block, Items):
        yield from (f"{number}. {text}" if block.is_numbered else f"- {text}" for number, text in enumerate(block.texts, start=1))
    else:
        yield f"| {' | '.join(block.header)} |"
        yield f"|{'|'.join('---:' if place in block.numbers else '---' for place in range(len(block.header)))}|"
        yield from (f"| {' | '.join(row)} |" for row in block.rows)
    yield ""
