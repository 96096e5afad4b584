"""The engine for boosters that are no plain trees: the library that trained them, in a sandboxed process of its own.

Takes a library's own file (CatBoost with categories, LightGBM with linear leaves) and its interface; gives an `Engine`. Raises what
engines.resident_engine raises, MissingExtraError where that library is absent, DataError for rows that it refuses.
This module never imports a library into the process that serves: only the process that holds the model does, after our own check.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.interface import Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.resident_engine import ResidentEngine
from fairlead.engines.sandboxed_engine import Worker
from fairlead.errors import CorruptError, MissingExtraError

_ENTRY = "fairlead.engines.booster_engine:open_in_sandbox"
_CHECK = "fairlead.security.booster_file"  # by name: only the child loads it, and tools do not import each other
# CatBoost reserves far more address space than it uses.
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, wall_s=120.0, file_bytes=2**30, output_bytes=2**30)
# First bytes of a file -> the library, which is the extra's and the module's name.
_LIBRARIES = ((b"CBM1", "catboost"), (b"tree\n", "lightgbm"))


class BoosterEngine(ResidentEngine):
    """Runs one booster file. Safe to call from several threads: they take turns."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1, sandbox: Sandbox) -> None:
        library = library_of(path)
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(library, needed_for="Running this model")
        arguments = {"path": str(path), "interface": msgspec.to_builtins(interface), "thread_count": thread_count, "library": library}
        description = importlib.import_module(f"fairlead.engines.{library}_engine").describe_library()
        worker = Worker(_ENTRY, path, f"{description} in a process of its own", arguments, _LIMITS)
        super().__init__(worker, interface, sandbox, libraries=(f"fairlead.engines.{library}_engine", library))


def library_of(path: Path) -> str:
    """Return the name of the library that the file at `path` belongs to, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(8)
    for magic, library in _LIBRARIES:
        if head.startswith(magic):
            return library
    raise CorruptError("The file is of no boosting library.", hint="Deploy the model again.")


def open_in_sandbox(arguments: Mapping[str, Any]) -> Callable[[Tensors], Tensors]:
    """Run in the sandbox: check the file, let its library open it, and return what answers with it."""
    library = str(arguments["library"])
    objective = importlib.import_module(_CHECK).check_booster(Path(arguments["path"]), library)
    opened: Callable[[Tensors], Tensors] = importlib.import_module(f"fairlead.engines.{library}_engine").open_model(
        {**arguments, "objective": objective}
    )
    return opened
