"""Open an engine of the catalog by name, whether it runs in this process or in sandboxed ones.

Takes a name of `ENGINES`, the main file of its form and the interface; gives an Engine. Raises MissingExtraError where its library is
absent, and what the engine raises for a file that it cannot open.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.core.interface import Interface
from fairlead.core.ports import Engine, Sandbox
from fairlead.engines.catalog import ENGINES


def open_engine(name: str, path: Path, interface: Interface, *, thread_count: int = 1, sandbox: Sandbox | None = None) -> Engine:
    """Return the engine; one whose class has `needs_sandbox` is handed the sandbox that its processes live in."""
    kind = ENGINES.load(name)
    if getattr(kind, "needs_sandbox", False):
        resident: Engine = kind(path, interface, thread_count=thread_count, sandbox=sandbox)
        return resident
    engine: Engine = kind(path, interface, thread_count=thread_count)
    return engine
