"""Work in steps: a generator that yields where others may have their turn, run to its end at once, or between the others in the event loop.

Takes generators that yield nothing; gives what they return. Raises what they raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
LONG_BYTES = 2**19  # a larger body is read in steps: it would take more than two milliseconds at once
PIECE_BYTES = 2**17  # what a step takes: about a millisecond
PIECE_COUNT = 2**14  # numbers that are packed in about that time


def at_once(steps: Steps[T]) -> T:
    """Return what `steps` come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_turn(steps: Steps[T]) -> T:
    """Return what `steps` come to; everybody else in the loop has a turn between two of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
