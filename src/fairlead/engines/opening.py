"""Open an engine of the catalog by name, whether it runs in this process or in sandboxed ones.

Takes a name of `ENGINES`, the main file of its form and the interface; gives an Engine. Raises MissingExtraError where its library is
absent, and what the engine raises for a file that it cannot open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine, Sandbox
from fairlead.engines.catalog import ENGINES
from fairlead.engines.session import read_session
from fairlead.errors import UnavailableError

# A process that has opened one of these on one thread may be forked: they start no other thread and hold nothing of the system's.
FORK_SAFE = frozenset({"onnxruntime", "trees"})


def open_engine(
    name: str,
    path: Path,
    interface: Interface,
    *,
    thread_count: int = 1,
    sandbox: Sandbox | None = None,
    session: Sequence[str] = (),
) -> Engine:
    """Return the engine; one whose class has `needs_sandbox` is handed the sandbox that its processes live in, one with
    `session_settings` the settings of its session. Raises SpecError for settings that the engine does not have.
    """
    kind = ENGINES.load(name)
    if session:
        chosen = read_session(session, getattr(kind, "session_settings", {}), engine=name)
        tuned: Engine = kind(path, interface, thread_count=thread_count, session=chosen)
        return tuned
    if getattr(kind, "needs_sandbox", False):
        resident: Engine = kind(path, interface, thread_count=thread_count, sandbox=sandbox)
        return resident
    engine: Engine = kind(path, interface, thread_count=thread_count)
    return engine


def has_processes(name: str, path: Path) -> bool:
    """Return whether the engine would run the model at `path` in sandboxed processes: a call may then wait for one that starts anew."""
    kind = ENGINES.load(name)
    of_file = getattr(kind, "has_processes", None)
    return bool(getattr(kind, "needs_sandbox", False) if of_file is None else of_file(path))


class DeferredEngine:
    """An engine that is opened with its first use: where worker processes do, this process need not. Safe for several threads."""

    def __init__(self, interface: Interface, open_it: Callable[[], Engine]) -> None:
        self._interface, self._open_it = interface, open_it
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What runs it, with version; opens it."""
        return self._opened().description

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine. Raises what opening raises, too."""
        return self._opened().run(inputs, outputs)

    def close(self) -> None:
        """Give back what was opened. Idempotent."""
        with self._lock:
            self._is_closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _opened(self) -> Engine:
        engine = self._engine
        if engine is not None:
            return engine
        with self._lock:
            if self._is_closed:
                raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
            if self._engine is None:
                self._engine = self._open_it()
            return self._engine
