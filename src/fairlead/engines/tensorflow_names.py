"""The names of a TensorFlow signature, and the interface's names for them: one rule for every room. Pure; imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterable


def in_order(names: Iterable[str]) -> list[str]:
    """Return `names` in the order that an interface lists them: by text, with numbers in them by their value (output_2 before output_10)."""
    return sorted(names, key=lambda name: [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)])


def interface_names(inputs: Iterable[str], outputs: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the interface's name of each input and output. They stay as they are, but an output called like an input, or like another
    interface's name, gets a number.
    """
    taken: dict[str, str] = {name: name for name in inputs}
    given: dict[str, str] = {}
    for name in in_order(outputs):
        candidate, number = name, 0
        while candidate in taken or candidate in given.values():
            number += 1
            candidate = f"{name}_{number}"
        given[name] = candidate
    return taken, given
