"""What whoever writes answers down has to know of one: the data plane's Asked is one, an answer that another server gave becomes one.

Protocols only. Whatever is one of these is never written to once it was handed over.
"""

from __future__ import annotations

from typing import Protocol

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.version import Version


class Question(Protocol):
    """What was asked. `outputs` are those that were asked for by name; none: all. `own_id` is what the caller calls the request."""

    @property
    def inputs(self) -> Tensors:
        """The tensors by input."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of outputs."""
        ...

    @property
    def own_id(self) -> str:
        """The id in the body; "" for none."""
        ...


class Answerer(Protocol):
    """Who answered. While answers of it are held, so is it: its version's identity as an object tells it apart."""

    @property
    def version(self) -> Version:
        """The version."""
        ...

    @property
    def interface(self) -> Interface:
        """What it takes and gives."""
        ...


class Settled(Protocol):
    """What an engine gave; `results` are None where it failed."""

    @property
    def results(self) -> dict[str, Array] | None:
        """The tensors by output."""
        ...


class Drawn(Protocol):
    """The arm of a release that a request was drawn for."""

    @property
    def name(self) -> str:
        """The arm's name."""
        ...


class Answer(Protocol):
    """One answered request of `rows` rows. Its outputs are those of the `ticket` where it has one; None where it failed."""

    @property
    def request(self) -> Question:
        """What was asked."""
        ...

    @property
    def served(self) -> Answerer:
        """Who answered."""
        ...

    @property
    def rows(self) -> int:
        """How many rows were asked about; 0 where that was not found out."""
        ...

    @property
    def outputs(self) -> dict[str, Array] | None:
        """The tensors by output, where there is no ticket."""
        ...

    @property
    def ticket(self) -> Settled | None:
        """What an engine was given to do."""
        ...

    @property
    def draw(self) -> Drawn | None:
        """The arm that answered, where a release divides requests."""
        ...
