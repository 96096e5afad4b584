"""Several ways to the same ONNX file: the first that is installed and proves right is taken, and the lineage says what failed before it.

Takes routes in the order in which they are worth trying; gives the Conversion of the first that works. Raises UnsupportedError with every
route's reason, MissingExtraError where none of them is installed. That a route ran proves nothing: each compares its own output with the
original (`engines.export_proof`) before it returns.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fairlead.core.conversion import Conversion
from fairlead.errors import MissingExtraError, SandboxError, UnsupportedError


@dataclass(frozen=True)
class Route:
    """One way. `needs` are the modules that have to be installed; `run` converts, compares, and raises UnsupportedError or SandboxError."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[], Conversion]

    @property
    def is_installed(self) -> bool:
        """Whether every module that it needs is there; nothing is imported to find out."""
        return all(importlib.util.find_spec(module) is not None for module in self.needs)


def first_right(routes: Sequence[Route], *, extra: str, needed_for: str, hint: str) -> Conversion:
    """Return the result of the first route that works; its first step's notes tell which ones failed before, and why."""
    installed = [route for route in routes if route.is_installed]
    if not installed:
        raise MissingExtraError(extra, needed_for=needed_for)
    failures: list[str] = []
    for route in installed:
        try:
            conversion = route.run()
        except (UnsupportedError, SandboxError) as error:
            failures.append(f"{route.name}: {error.message}")
            continue
        first, *rest = conversion.steps
        notes = (*first.notes, *(f"another route failed {failure}" for failure in failures))
        return replace(conversion, steps=(replace(first, notes=notes), *rest))
    raise UnsupportedError(f"No route to ONNX gives the model's own answers: {'; '.join(failures)}", hint=hint)
