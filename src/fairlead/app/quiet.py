"""Progress that nobody watches: for long work that another program started."""

from __future__ import annotations


class Quiet:
    """A core.ports.Progress that tells nobody."""

    def step(self, text: str) -> None:
        """A step begins."""

    def tell(self, text: str) -> None:
        """How far it is."""

    def done(self, text: str) -> None:
        """It has ended."""
