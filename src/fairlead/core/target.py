"""Where a deployment is to run. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    """What a machine has; measured by `doctor`, kept with every Verdict so that its numbers can be read."""

    system: str  # e.g. "Linux 6.1 x86_64"
    processor: str
    core_count: int
    memory_bytes: int
    instruction_sets: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What one replica may use: `hardware` is "cpu" until other engines exist; `core_count` bounds its threads."""

    hardware: str = "cpu"
    core_count: int = 1
