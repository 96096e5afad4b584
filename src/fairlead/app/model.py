"""A registered version in this process: the same engine and checks as the server's, without a server.

`open_model` takes a House and a reference, gives a Model; raises NotFoundError, CorruptError where the stored files are not what was
registered, and DataError or RequestError for rows that do not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from fairlead.app.rows import Rows, raw_rows
from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.golden import Golden
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.core.plan import Candidate
from fairlead.core.ports import Engine, LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, parse_reference
from fairlead.datasets.bind import bind_inputs
from fairlead.datasets.load import load_rows
from fairlead.engines.catalog import ENGINES
from fairlead.engines.opening import FORK_SAFE, DeferredEngine, open_engine
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_golden
from fairlead.stores.leases import hold
from fairlead.stores.version_files import materialize


class Model:
    """One version, loaded. Use it as a context manager, or `close` it, to give its memory back."""

    def __init__(self, version: Version, engine: Engine, golden: Golden | None, release: Callable[[], None] | None = None) -> None:
        self.version = version
        self.golden = golden
        self._engine = engine
        self._release = release

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._engine.interface

    def predict(self, rows: Rows) -> Array:
        """Return what the original's own predict gives: scores (rows, classes) of a network, labels or numbers of an estimator.

        `rows` is an array or nested list (rows, ...) for a model with one input, a list of records, or a mapping from input or column
        name to values.
        """
        outputs = self.predict_all(rows)
        rule = self.interface.decision
        own = rule.output if rule is not None else self.interface.outputs[0].name
        return outputs[own]

    def predict_all(self, rows: Rows) -> dict[str, Array]:
        """Return every output by name."""
        return self._engine.run(self._bind(rows))

    def predict_labels(self, rows: Rows) -> Array:
        """Return one decision per row: the class's label where the model has labels, else its index, or the number of a regression."""
        return labels_of(self.interface, self.predict_all(rows))

    def predict_file(self, path: Path) -> tuple[Tensors, dict[str, Array]]:
        """Return the rows in a .csv, .parquet, .npz, .npy or .json file, and every output for them."""
        inputs = load_rows(path, self.interface)
        return inputs, self._engine.run(inputs)

    def close(self) -> None:
        """Give memory back. Idempotent."""
        self._engine.close()
        if self._release is not None:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        takes = ", ".join(spec.describe() for spec in self.interface.inputs)
        return f"<fairlead.Model {self.version.label}: {takes}>"

    def _bind(self, rows: Rows) -> Tensors:
        inputs, _, _ = bind_inputs(raw_rows(rows), self.interface, target=None, allow_missing=True)
        return inputs


def labels_of(interface: Interface, outputs: Tensors) -> Array:
    """Return the decision of each row, as its label where the interface has labels."""
    rule = interface.decision
    if rule is None:
        return outputs[interface.outputs[0].name]
    decisions = decide(interface, outputs)
    if rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD) and interface.labels:
        return np.asarray(interface.labels, dtype=object)[decisions]
    return decisions


def open_version(version: Version, house: House, *, is_apart: bool = False) -> LoadedModel:
    """Unpack `version`, check every file against its digest, and start its engine; with its first use only, where `is_apart` says that
    worker processes open it by its recipe. Its files stay until `release` is called.
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
    open_it = partial(open_engine, chosen.engine, path, interface, thread_count=chosen.thread_count, sandbox=house.sandbox)
    has_processes = getattr(ENGINES.load(chosen.engine), "needs_sandbox", False)
    recipe = None if has_processes else EngineRecipe(chosen.engine, path, interface, chosen.engine in FORK_SAFE)
    engine = DeferredEngine(interface, open_it) if is_apart and recipe is not None else open_it()
    verdict = load(files["verdict.json"].read_bytes(), Verdict)
    return LoadedModel(
        engine,
        read_golden(files["golden.npz"]),
        may_block=has_processes,
        is_deterministic=verdict.parity.is_deterministic,
        is_batch_invariant=verdict.is_batch_invariant,
        recipe=recipe,
    )


def open_model(reference: str, house: House) -> Model:
    """Return the version that `reference` names, loaded."""
    version = resolve(parse_reference(reference), records=house.records)
    loaded = open_version(version, house)
    return Model(version, loaded.engine, loaded.golden, loaded.release)
