"""A registered version, opened: its files checked against their digests, its engine started.

Takes a Version and a House; gives a LoadedModel. Raises CorruptError where the stored files are not what was registered, and what the
engine raises for a file that it cannot open.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, TWIN_FILE, RuntimeForm
from fairlead.core.interface import Interface
from fairlead.core.plan import Candidate
from fairlead.core.ports import LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version
from fairlead.engines.opening import FORK_SAFE, DeferredEngine, has_processes, open_engine
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_golden
from fairlead.stores.leases import hold
from fairlead.stores.version_files import materialize


def open_version(version: Version, house: House, *, is_apart: bool = False) -> LoadedModel:
    """Unpack `version`, check every file against its digest, and start its engine; with its first use only, where `is_apart` says that
    worker processes open it by its recipe. Its files stay until `release` is called; `open_twin` opens its original.
    """
    with ExitStack() as undo:
        release = hold(version.digest, house.loaded)
        undo.callback(release)
        loaded = replace(_open(version, house, is_apart=is_apart), release=release)
        undo.pop_all()
    return loaded


def _open(version: Version, house: House, *, is_apart: bool) -> LoadedModel:
    files = materialize(version, house.blobs, house.loaded)
    interface = load(files["interface.json"].read_bytes(), Interface)
    chosen = load(files["engine.json"].read_bytes(), Candidate)
    path = files[MAIN_FILE[RuntimeForm(chosen.form)]]
    open_it = partial(
        open_engine, chosen.engine, path, interface, thread_count=chosen.thread_count, sandbox=house.sandbox, session=chosen.session
    )
    is_apart_already = has_processes(chosen.engine, path)
    recipe = None if is_apart_already else EngineRecipe(chosen.engine, path, interface, chosen.engine in FORK_SAFE, chosen.session)
    engine = DeferredEngine(interface, open_it) if is_apart and recipe is not None else open_it()
    verdict = load(files["verdict.json"].read_bytes(), Verdict)
    twin = files.get(TWIN_FILE)
    return LoadedModel(
        engine,
        read_golden(files["golden.npz"]),
        may_block=is_apart_already,
        is_deterministic=verdict.parity.is_deterministic,
        is_batch_invariant=verdict.is_batch_invariant,
        recipe=recipe,
        open_twin=None if twin is None else partial(open_engine, "onnxruntime", twin, interface),
        twin_bytes=0 if twin is None else version.manifest.entry(TWIN_FILE).size_bytes,
    )
