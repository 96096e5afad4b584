"""The engine for scikit-learn estimators that have no graph form: scikit-learn itself, in a sandboxed process of its own.

Takes a checked pickle, joblib or skops file and its interface; gives an `Engine`. Raises what engines.resident_engine raises, DataError for
rows that scikit-learn refuses, UnsafeContentError for a file that is not on the allow-list. This module never imports scikit-learn into
the process that serves: only the process that holds the model does.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import Interface, Tensors
from fairlead.core.ports import Sandbox
from fairlead.engines.resident_engine import RESIDENT_LIMITS, ResidentEngine
from fairlead.engines.sandboxed_engine import Worker

if importlib.util.find_spec("sklearn") is None:
    raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")  # as an import would say it, for engines.catalog

_ENTRY = "fairlead.engines.python_engine:open_in_sandbox"
_LOADER = "fairlead.security.estimator_file"  # by name: only the child loads it, and tools do not import each other
_ZIP = b"PK\x03\x04"


class PythonEngine(ResidentEngine):
    """Runs one estimator file. Safe to call from several threads: they take turns."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1, sandbox: Sandbox) -> None:
        arguments = {"path": str(path), "interface": msgspec.to_builtins(interface), "thread_count": thread_count}
        description = f"scikit-learn {metadata.version('scikit-learn')} in a process of its own"
        worker = Worker(_ENTRY, path, description, arguments, RESIDENT_LIMITS)
        super().__init__(worker, interface, sandbox, libraries=("fairlead.engines.estimator_rows", "sklearn", "scipy.sparse"))


def open_in_sandbox(arguments: Mapping[str, Any]) -> Callable[[Tensors], Tensors]:
    """Run in the sandbox: open the estimator, and return what answers with it."""
    from fairlead.engines.estimator_rows import answer_rows, select_by_position  # noqa: PLC0415 - only the child needs it

    interface = msgspec.convert(arguments["interface"], Interface)
    path = Path(arguments["path"])
    estimator = importlib.import_module(_LOADER).load_estimator(path, _format_of(path).value)
    select_by_position(estimator)
    importlib.import_module("threadpoolctl").threadpool_limits(int(arguments["thread_count"]))  # scikit-learn brings it
    return lambda inputs: answer_rows(estimator, interface, inputs)


def _format_of(path: Path) -> SourceFormat:
    """A skops file is a zip archive; pickle and joblib files never begin like one, and are opened alike."""
    with path.open("rb") as stream:
        return SourceFormat.SKLEARN_SKOPS if stream.read(len(_ZIP)) == _ZIP else SourceFormat.SKLEARN_JOBLIB
