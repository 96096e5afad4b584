"""Rows to prove a model with: named input tensors that fit an interface and, where known, the right answers. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import Array


@dataclass(frozen=True)
class Dataset:
    """`inputs` name -> (rows, ...) tensors as the interface wants them; `target` (rows,) labels or numbers, or None.

    `digest` is the SHA-256 of the source file's bytes ("" for drawn rows); `description` says in one line where the rows come from.
    `columns` names the features of a table whose order had to be trusted, since the model names none; empty otherwise.
    """

    inputs: Mapping[str, Array] = field(repr=False)
    target: Array | None = field(default=None, repr=False)
    digest: str = ""
    description: str = ""
    is_synthetic: bool = False
    columns: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(next(iter(self.inputs.values())).shape[0])

    def take(self, start: int, stop: int) -> Dataset:
        """Return rows `start` to `stop` (exclusive), with the same source."""
        inputs = {name: tensor[start:stop] for name, tensor in self.inputs.items()}
        target = None if self.target is None else self.target[start:stop]
        return Dataset(inputs, target, self.digest, self.description, self.is_synthetic, self.columns)
