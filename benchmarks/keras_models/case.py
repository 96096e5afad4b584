"""One model of the battery: how to build it with Keras 2 or 3, and what to ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Keras = Any  # the module keras, or tf_keras: both offer layers, Model, Sequential and Input
KERAS_3 = ("keras",)
KERAS_2_AND_3 = ("keras", "tf_keras")


@dataclass(frozen=True)
class Case:
    """`build(keras)` gives an unnamed, untrained model; its weights are drawn afterwards.

    `frameworks` names the modules that can build it. `sizes` are the lengths that stand for free dimensions (one set of inputs for
    each); `vocabulary` is the number of ids that integer inputs are drawn from (float ones too where
    `has_float_ids`), `padded` the share of a row that may be 0 at its end.
    """

    name: str
    build: Callable[[Keras], Any]
    covers: str
    frameworks: tuple[str, ...] = KERAS_2_AND_3
    sizes: tuple[int, ...] = (5, 11)
    vocabulary: int = 20
    padded: float = 0.0
    has_float_ids: bool = False


def cases(builders: Mapping[Callable[[Keras], Any], Mapping[str, Any]]) -> tuple[Case, ...]:
    """Return one case per builder; its name is the function's, what it covers the first line of its docstring."""
    return tuple(Case(build.__name__, build, (build.__doc__ or "").splitlines()[0].rstrip("."), **more) for build, more in builders.items())
