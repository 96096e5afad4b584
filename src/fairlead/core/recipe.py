"""How worker processes open a version: a value that can be told to another process. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairlead.core.interface import Interface


@dataclass(frozen=True)
class EngineRecipe:
    """An engine of the catalog by name, the main file of its form, and what it takes and gives.

    `is_fork_safe` says that a process which has opened it may be copied, so that all copies share its memory; else each process opens it
    for itself. `session` are settings of the engine, as a Candidate has them.
    """

    engine: str
    path: Path
    interface: Interface
    is_fork_safe: bool = False
    session: tuple[str, ...] = ()
