"""A registered version in this process: the same engine and checks as the server's, without a server.

`open_model` takes a House and a reference, gives a Model; raises NotFoundError, CorruptError where the stored files are not what was
registered, UnavailableError where the version does not answer here as it was proven to, and DataError or RequestError for rows that do
not fit. A Model is one version for as long as it lives: it follows no alias, so no two answers of it come from different versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import numpy as np

from fairlead.app.model import open_version
from fairlead.app.rows import Rows, raw_rows
from fairlead.app.wiring import House
from fairlead.core.deciding import labelled
from fairlead.core.golden import Golden
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine, LoadedModel
from fairlead.core.version import Version, parse_reference
from fairlead.datasets.bind import bind_inputs
from fairlead.datasets.load import load_rows
from fairlead.engines.machine import usable_cores
from fairlead.errors import UnavailableError
from fairlead.register.resolve import resolve
from fairlead.serve.golden_check import answer_rightly

if TYPE_CHECKING:
    from fairlead.serve.scheduler import Scheduler

_QUICK_BYTES = 2**18  # rows that are brought into form at once: less than a millisecond
_QUICK_ROWS = 256


class Model:
    """One version, loaded. Safe for several threads and tasks; a context manager, or `close` it, to give its memory back."""

    def __init__(self, version: Version, loaded: LoadedModel) -> None:
        self.version = version
        self._loaded = loaded
        self._engine = loaded.engine
        self.element_ms = 0.0  # what a call takes for each element of its inputs, where that was measured
        self._is_closed = False
        self._schedulers: WeakKeyDictionary[asyncio.AbstractEventLoop, Scheduler] = WeakKeyDictionary()

    @property
    def golden(self) -> Golden | None:
        """Rows with the answers that were proven."""
        return self._loaded.golden

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self._engine

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._engine.interface

    def predict(self, rows: Rows) -> Array:
        """Return what the original's own predict gives: scores (rows, classes) of a network, labels or numbers of an estimator.

        `rows` is an array or nested list (rows, ...) for a model with one input, a list of records, or a mapping from input or column
        name to values.
        """
        return self._own(self.predict_all(rows))

    async def apredict(self, rows: Rows) -> Array:
        """Return what `predict` returns, while the event loop goes on; see `apredict_all`."""
        return self._own(await self.apredict_all(rows))

    def predict_all(self, rows: Rows) -> dict[str, Array]:
        """Return every output by name."""
        self._check_open()
        return self._engine.run(self._bind(rows))

    async def apredict_all(self, rows: Rows) -> dict[str, Array]:
        """Return every output by name. Calls that come together are computed together where the verdict shows that rows do not see each
        other; what is expected to take more than a millisecond is computed in a thread. Cancelling a call takes it out of the queue.
        """
        inputs = self._bind(rows) if _is_quick(rows) else await asyncio.to_thread(self._bind, rows)
        count = self.interface.check_inputs(inputs)
        return await self._scheduler().submit(inputs, (), count)

    def predict_labels(self, rows: Rows) -> Array:
        """Return one decision per row: the class's label where the model has labels, else its index, or the number of a regression.

        A row whose scores are NaN has none: the array is of objects then, with None there.
        """
        return labelled(self.interface, self.predict_all(rows))

    async def apredict_labels(self, rows: Rows) -> Array:
        """Return what `predict_labels` returns, while the event loop goes on; see `apredict_all`."""
        return labelled(self.interface, await self.apredict_all(rows))

    def predict_file(self, path: Path) -> tuple[Tensors, dict[str, Array]]:
        """Return the rows in a .csv, .parquet, .npz, .npy or .json file, and every output for them."""
        self._check_open()
        inputs = load_rows(path, self.interface)
        return inputs, self._engine.run(inputs)

    def close(self) -> None:
        """Give memory back; what still waits gets UnavailableError. Idempotent."""
        self._is_closed = True
        for loop, scheduler in list(self._schedulers.items()):
            _close_in(loop, scheduler)
        self._engine.close()
        if self._loaded.release is not None:
            self._loaded.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        takes = ", ".join(spec.describe() for spec in self.interface.inputs)
        return f"<fairlead.Model {self.version.label}: {takes}>"

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("The model was closed.", hint="Load it again: fairlead.load(...).")

    def _bind(self, rows: Rows) -> Tensors:
        if isinstance(rows, np.ndarray) and _fits_as_it_is(rows, self.interface):
            return {self.interface.inputs[0].name: rows}
        inputs, _, _ = bind_inputs(raw_rows(rows), self.interface, target=None, allow_missing=True)
        return inputs

    def _own(self, outputs: Tensors) -> Array:
        rule = self.interface.decision
        return outputs[rule.output if rule is not None else self.interface.outputs[0].name]

    def _scheduler(self) -> Scheduler:
        """Return the queue of the event loop that runs here: each loop has its own."""
        loop = asyncio.get_running_loop()
        known = self._schedulers.get(loop)
        if known is not None:
            return known
        self._check_open()
        for other in [other for other in self._schedulers if other.is_closed()]:
            self._schedulers.pop(other).close()
        # The server's own queue: brought in only where it is used, since most callers do not await.
        from fairlead.serve.batching import BatchPolicy  # noqa: PLC0415
        from fairlead.serve.engine_executor import EngineExecutor  # noqa: PLC0415
        from fairlead.serve.scheduler import Scheduler  # noqa: PLC0415

        executor = EngineExecutor(_Lent(self._loaded), usable_cores(), is_blocking=self._loaded.may_block)
        policy = BatchPolicy(is_enabled=self._loaded.is_batch_invariant)
        scheduler = Scheduler(executor, policy, _ignore)
        if self.element_ms and self.golden is not None:
            elements = sum(tensor[:1].size for tensor in self.golden.inputs.values())
            scheduler.expect(elements, self.element_ms * elements)
        self._schedulers[loop] = scheduler
        return scheduler


class _Lent:
    """The model's engine for one event loop, which may end without closing the engine of the others."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.interface = loaded.engine.interface
        self.description = loaded.engine.description
        self._engine = loaded.engine

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """See core.ports.Engine."""
        return self._engine.run(inputs, outputs)

    def close(self) -> None:
        """The model closes its engine itself."""


def open_model(reference: str, house: House) -> Model:
    """Return the version that `reference` names, loaded, once it has answered its golden requests as it was proven to."""
    version = resolve(parse_reference(reference), records=house.records)
    loaded = open_version(version, house)
    model = Model(version, loaded)
    try:
        if loaded.golden is not None:
            model.element_ms = answer_rightly(version.label, loaded.engine, loaded.golden)
    except BaseException:
        model.close()
        raise
    return model


def _fits_as_it_is(rows: Array, interface: Interface) -> bool:
    """Whether an array is what the only input takes, to the bit, so that nothing is left to bring into form, nor to refuse."""
    spec = interface.inputs[0]
    if len(interface.inputs) > 1 or rows.dtype.kind not in "fiub" or rows.dtype != spec.dtype.numpy or rows.ndim != len(spec.shape):
        return False
    fits = all(want is None or want == got for want, got in zip(spec.shape[1:], rows.shape[1:], strict=True))
    return fits and rows.size > 0 and rows.flags.c_contiguous and not (rows.dtype.kind == "f" and bool(np.isinf(rows).any()))


def _is_quick(rows: Rows) -> bool:
    """Whether rows are brought into form in less time than it takes to hand them to a thread."""
    if isinstance(rows, np.ndarray):
        return rows.nbytes <= _QUICK_BYTES
    return isinstance(rows, list | tuple) and len(rows) <= _QUICK_ROWS and all(not hasattr(row, "__len__") or len(row) < 64 for row in rows)


def _close_in(loop: asyncio.AbstractEventLoop, scheduler: Scheduler) -> None:
    """Close it in its own thread where its loop still runs: nothing else may touch what waits there."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if loop is not here and loop.is_running():
        loop.call_soon_threadsafe(scheduler.close)
    else:
        scheduler.close()


def _ignore(_run: object) -> None:
    """Nobody watches the calls of a model in this process."""
