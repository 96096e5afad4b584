"""Whether a version that comes from elsewhere answers its golden requests here, found out where it can do no harm.

`try_out` takes the version's files by name, laid out in one folder; gives a sentence for a person. An engine that would run in this process
is opened in the sandbox, with nothing to read but the version and no network; one that has sandboxed processes of its own runs in them.
Raises RejectedError where the model answers otherwise, SandboxError where it crashes or takes too much. That an engine is not installed
here is said, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, TWIN_FILE, RuntimeForm
from fairlead.core.interface import Interface
from fairlead.core.plan import Candidate
from fairlead.core.ports import Sandbox, SandboxJob
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
            problem = _answer(folder, house.sandbox)
        else:
            problem = _answer_apart(folder, house.sandbox, is_twin=False)
        if not problem and TWIN_FILE in files:
            problem = _answer_apart(folder, house.sandbox, is_twin=True)
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
    return {"problem": _answer(Path(arguments["folder"]), None, is_twin=bool(arguments["is_twin"]))}


def _answer_apart(folder: Path, sandbox: Sandbox, *, is_twin: bool) -> str:
    scratch = folder.parent / ("twin-trial" if is_twin else "trial")
    scratch.mkdir(mode=0o700)
    job = SandboxJob(_ENTRY, scratch, {"folder": str(folder), "is_twin": is_twin}, (folder,))
    return str(sandbox.run(job).get("problem", ""))


def _answer(folder: Path, sandbox: Sandbox | None, *, is_twin: bool = False) -> str:
    """Return what differs from the golden answers, "" where nothing does. The twin, which a lossy version only resembles, has to give
    outputs of the same names and shapes.
    """
    chosen = load((folder / "engine.json").read_bytes(), Candidate)
    interface = load((folder / "interface.json").read_bytes(), Interface)
    golden = read_golden(folder / "golden.npz")
    try:
        if is_twin:
            engine, golden = open_engine("onnxruntime", folder / TWIN_FILE, interface), replace(golden, tolerance=math.inf)
        else:
            path = folder / MAIN_FILE[RuntimeForm(chosen.form)]
            engine = open_engine(chosen.engine, path, interface, thread_count=chosen.thread_count, sandbox=sandbox, session=chosen.session)
        with closing(engine):
            return golden.mismatch(engine.run(golden.inputs))
    except MissingExtraError:
        raise
    except FairleadError as error:
        return error.message.rstrip(".")
