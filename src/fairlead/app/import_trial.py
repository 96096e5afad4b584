"""Whether a version that comes from elsewhere answers its golden requests here, found out where it can do no harm.

`try_out` takes the version's files by name, laid out in one folder; gives a sentence for a person. An engine that would run in this process
is opened in the sandbox, with nothing to read but the version and no network; one that has sandboxed processes of its own runs in them.
Raises RejectedError where the model answers otherwise, SandboxError where it crashes or takes too much. That an engine is not installed
here is said, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.interface import Interface
from fairlead.core.plan import Candidate
from fairlead.core.ports import SandboxJob
from fairlead.engines.opening import has_processes, open_engine
from fairlead.errors import FairleadError, MissingExtraError, RejectedError
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_golden

_ENTRY = f"{__name__}:answer_in_sandbox"
_OWN_FORMATS = frozenset({"trees"})  # read by our own code, and run by a kernel that may have to be compiled first


def try_out(files: Mapping[str, Path], house: House) -> str:
    """Return what was tried; raises RejectedError where the golden requests are answered otherwise."""
    chosen = load(files["engine.json"].read_bytes(), Candidate)
    folder = files["engine.json"].parent
    try:
        if chosen.engine in _OWN_FORMATS or has_processes(chosen.engine, files[MAIN_FILE[RuntimeForm(chosen.form)]]):
            problem = _answer(folder, house)
        else:
            scratch = folder.parent / "trial"
            scratch.mkdir(mode=0o700)
            problem = str(house.sandbox.run(SandboxJob(_ENTRY, scratch, {"folder": str(folder)}, (folder,))).get("problem", ""))
    except MissingExtraError as error:
        return f"not tried here: {error}"
    if problem:
        raise RejectedError(
            f"The model in the file does not answer its golden requests here as it did: {problem}.",
            hint="It was proven on another machine or runtime: deploy it here from its source.",
        )
    return f"answered its golden requests here ({chosen.engine})"


def answer_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Open the version in this sandboxed process and ask it."""
    return {"problem": _answer(Path(arguments["folder"]), None)}


def _answer(folder: Path, house: House | None) -> str:
    """Return what differs from the golden answers, "" where nothing does."""
    chosen = load((folder / "engine.json").read_bytes(), Candidate)
    interface = load((folder / "interface.json").read_bytes(), Interface)
    golden = read_golden(folder / "golden.npz")
    path = folder / MAIN_FILE[RuntimeForm(chosen.form)]
    sandbox = None if house is None else house.sandbox
    try:
        engine = open_engine(chosen.engine, path, interface, thread_count=chosen.thread_count, sandbox=sandbox, session=chosen.session)
        with closing(engine):
            return golden.mismatch(engine.run(golden.inputs))
    except MissingExtraError:
        raise
    except FairleadError as error:
        return error.message.rstrip(".")
