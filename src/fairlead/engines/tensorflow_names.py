"""The names of TensorFlow's tensors, and the interface's names for them: one rule for every room. Pure; imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_PREFIX = re.compile(r"^(serving_default_|serve_)")


def in_order(names: Iterable[str]) -> list[str]:
    """Return `names` in the order that an interface lists them: by text, numbers in them by their value (output_2 before output_10)."""
    return sorted(
        names, key=lambda name: [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]
    )


def interface_names(inputs: Iterable[str], outputs: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the interface's name of each input and output of a signature. They stay as they are, but an output that is called like an
    input gets a number.
    """
    given = {name: name for name in inputs}
    taken = set(given)
    results = {}
    for name in in_order(outputs):
        results[name] = _free(name, taken)
    return given, results


def tensor_names(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the interface's names for a graph without a signature: those of its tensors in its order ("serving_default_x:0" is x)."""
    taken: set[str] = set()
    plain = [_PREFIX.sub("", name.removesuffix(":0")) or "tensor" for name in (*inputs, *outputs)]
    names = [_free(name, taken) for name in plain]
    return names[: len(inputs)], names[len(inputs) :]


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
