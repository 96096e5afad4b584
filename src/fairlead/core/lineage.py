"""Where a version comes from: every step from the source's digest to the registered file. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One transformation: `room` and `tool` did it (with `versions` of the libraries used), from digest to digest.

    `parameters` are plain settings; `notes` are sentences for the report (a route that failed and which was tried next).
    """

    room: str
    tool: str
    input_digest: str
    output_digest: str
    versions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """The chain. Law: each step's input is the output of the step before; the first is the source's manifest digest."""

    source_digest: str
    source_name: str
    steps: tuple[Step, ...]

    def is_unbroken(self) -> bool:
        """Whether the law holds."""
        digest = self.source_digest
        for step in self.steps:
            if step.input_digest != digest:
                return False
            digest = step.output_digest
        return True
