"""A registered model over a file of any size: streamed, in constant memory, and resumable.

`run_batch` takes a BatchRequest, gives BatchDone. The output appears in one step when all of it is there, and is the same, byte by byte,
however often the run was killed and resumed. Raises DataError for a file or a row that does not fit, SpecError for options that do not,
ConflictError where an earlier run was about something else, NoSpaceError for a full disk, and what the engine raises; BatchInterrupted
where it was told to stop. Never overwrites a file unless that is asked for.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from fairlead.app.batch_columns import no_rows, plan_columns
from fairlead.app.batch_kinds import kinds_of
from fairlead.app.batch_rows import Answered, RowJob
from fairlead.app.batch_state import BatchState
from fairlead.app.load import Model, open_model
from fairlead.app.wiring import House
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface
from fairlead.datasets.bind import text_columns
from fairlead.datasets.stream import RowStream, Wanted, open_stream
from fairlead.datasets.table_writer import check_table, check_writable, write_tables
from fairlead.engines.machine import usable_cores
from fairlead.errors import DataError, SpecError
from fairlead.security.digests import digest_file
from fairlead.stores.durable_files import typed_errors

FAIL, SKIP = "fail", "skip"
_CHUNK_ROWS, _CHUNK_BYTES = 8192, 2**23
# Rows that go through the engine at once: inner values of a network take tens to hundreds of times the bytes of its inputs.
_BATCH_ROWS, _BATCH_BYTES = 512, 2**20


class BatchWatcher(Protocol):
    """Tells a person how far it is. `step` starts a step; `done` ends it with what came out."""

    def step(self, text: str) -> None:
        """A step begins."""
        ...

    def done(self, text: str) -> None:
        """The step that began last has ended."""
        ...

    def advance(self, rows: int, fraction: float) -> None:
        """So many rows of the step are done, that share of it."""
        ...


class BatchInterrupted(KeyboardInterrupt):
    """The run was told to stop; what it did is kept, and the message says how to go on."""


@dataclass(frozen=True)
class BatchRequest:
    """What to answer. `kept` are columns that are passed through; `outputs` are given as they are, in place of decisions and scores.

    `on_error` is FAIL or SKIP. `worker_count` 0 takes every core. `is_stopped` is asked between chunks.
    """

    reference: str
    source: Path
    output: Path
    kept: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    on_error: str = FAIL
    is_resumed: bool = False
    allow_overwrite: bool = False
    worker_count: int = 0
    is_stopped: Callable[[], bool] = bool


@dataclass(frozen=True)
class BatchDone:
    """What was done: rows read, rows answered, and where those that were left out are listed (None: there are none)."""

    version: str
    rows_in: int
    rows_out: int
    listed: Path | None
    resumed_rows: int


def run_batch(request: BatchRequest, house: House, watcher: BatchWatcher) -> BatchDone:
    """Answer every row of `request.source` into `request.output`."""
    _check_paths(request)
    with open_model(request.reference, house) as model:
        # 1. What can be refused before any work is refused now.
        interface = model.interface
        plan = plan_columns(interface, request.outputs, request.kept)
        check_writable(request.output, no_rows(plan).schema)
        stream, file = open_stream(request.source, _wanted(request, interface))
        with file:
            # 2. What the run is about: an earlier one that was about the same goes on.
            watcher.step("input")
            before = os.fstat(file.fileno())
            about = _about(request, model, digest_file(request.source))
            watcher.done(f"{request.source.name}{'' if stream.total_rows is None else f', {stream.total_rows:,} rows'}")
            with BatchState(request.output) as state:
                state.open(about, is_resumed=request.is_resumed)
                resumed = state.rows_in
                # 3. Every row, in order.
                if not state.manifest.is_read:
                    job = RowJob(model.engine, plan, _batch_rows(interface), kinds_of(stream, text_columns(interface)))
                    _answer(request, job, stream, state, watcher)
                after = os.fstat(file.fileno())
                if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                    raise DataError(f"'{request.source.name}' was changed while it was read.", hint="Start again when nobody writes to it.")
                # 4. The output, whole.
                return _finish(request, model, state, resumed, watcher)


def _check_paths(request: BatchRequest) -> None:
    if request.on_error not in (FAIL, SKIP):
        raise SpecError(f"'{request.on_error}' is no rule for rows that do not fit.", hint=f"Use {FAIL} or {SKIP}.")
    if request.output.exists():
        if request.source.exists() and request.output.samefile(request.source):
            raise SpecError("Input and output are the same file.", hint="Write to another file.")
        if not request.allow_overwrite:
            raise SpecError(f"'{request.output.name}' is there already.", hint="Write to another file, or say that it may go: --overwrite.")
    if not request.output.parent.is_dir():
        raise SpecError(f"There is no folder '{request.output.parent}'.", hint="Create it first.")


def _wanted(request: BatchRequest, interface: Interface) -> Wanted:
    specs = interface.inputs
    has_names = all(spec.columns for spec in specs) or len(specs) > 1
    named = frozenset(name for spec in specs for name in (spec.columns or (spec.name,))) if has_names else frozenset()
    return Wanted(named, text_columns(interface), request.kept, frozenset(spec.name for spec in specs))


def _about(request: BatchRequest, model: Model, digest: str) -> dict[str, str]:
    said = [request.kept, request.outputs, request.on_error, request.output.suffix.lower(), _chunk_rows(model.interface)]
    return {
        "model": f"{model.version.label} (sha256:{model.version.digest})",
        "engine": model.engine.description,
        "input": f"sha256:{digest}",
        "set of options": json.dumps([*said, _batch_rows(model.interface)]),
    }


def _answer(request: BatchRequest, job: RowJob, stream: RowStream, state: BatchState, watcher: BatchWatcher) -> None:
    """Read here, answer in threads, write here in the order of the file."""
    is_one_process = getattr(job.engine, "needs_sandbox", False)
    workers = request.worker_count or (1 if is_one_process else usable_cores())
    said: dict[str, None] = {}
    waiting: deque[tuple[float, Future[Answered]]] = deque()

    def take() -> None:
        fraction, future = waiting.popleft()
        answered = future.result()
        _check_some_fit(answered, state, request)
        if answered.errors and request.on_error == FAIL:
            row, why = answered.errors[0]
            hint = "Correct it, or leave such rows out: --on-error skip."
            raise DataError(f"Row {row} of '{request.source.name}' does not fit: {why}", hint=hint)
        if answered.table is not None:
            check_table(request.output.suffix.lower(), answered.table, is_first=not state.added_out)
        state.add(answered.table, answered.rows, answered.errors)
        said.update(dict.fromkeys(answered.said))
        watcher.advance(state.added_rows, fraction)
        if request.is_stopped():
            state.commit(is_read=False)
            raise BatchInterrupted(f"Interrupted after {state.rows_in:,} rows. Go on with the same command and --resume.")

    watcher.step("answer")
    with ThreadPoolExecutor(workers, thread_name_prefix="fairlead-batch") as pool:
        try:
            for chunk in stream.chunks(_chunk_rows(job.interface), state.rows_in):
                waiting.append((chunk.fraction, pool.submit(job.answer, chunk)))
                if len(waiting) > workers:
                    take()
            while waiting:
                take()
        finally:
            for _, future in waiting:
                future.cancel()
    state.commit(is_read=True)
    skipped = state.rows_in - state.rows_out
    first = f"{state.rows_out:,} rows{f', {skipped:,} left out' if skipped else ''}"
    watcher.done("\n".join([first, *said]))


def _check_some_fit(answered: Answered, state: BatchState, request: BatchRequest) -> None:
    """A file of which no row fits is not a file with some wrong rows."""
    if answered.table is None and not state.added_out and answered.rows > 1:
        why = answered.errors[0][1]
        raise DataError(
            f"None of the first {answered.rows} rows of '{request.source.name}' fits: {why}",
            hint="Is it the right file? --keep takes a column that is no input.",
        )


def _finish(request: BatchRequest, model: Model, state: BatchState, resumed: int, watcher: BatchWatcher) -> BatchDone:
    if not state.rows_in:
        raise DataError(f"'{request.source.name}' has no rows.", hint="There is nothing to answer.")
    total = state.rows_out

    def tables() -> Iterator[pa.Table]:
        rows = 0
        for table in state.tables():
            yield table
            rows += table.num_rows
            watcher.advance(rows, rows / total)

    watcher.step("write")
    schema = next(state.tables()).schema
    path, file = state.final()
    with file:
        with typed_errors("the answers", request.output.parent):
            write_tables(file, request.output.suffix.lower(), schema, tables)
        rows_in = state.rows_in
        listed = state.finish(path, file)
    watcher.done(str(request.output))
    return BatchDone(model.version.label, rows_in, total, listed, resumed)


def _row_bytes(interface: Interface) -> int:
    """Bytes of one row's inputs; a free size counts as 64, a text as 64 bytes."""
    total = 0
    for spec in interface.inputs:
        element = 64 if spec.dtype is DType.BYTES else spec.dtype.numpy.itemsize
        total += element * math.prod(64 if size is None else size for size in spec.shape[1:])
    return max(total, 1)


def _chunk_rows(interface: Interface) -> int:
    return max(min(_CHUNK_ROWS, _CHUNK_BYTES // _row_bytes(interface)), 1)


def _batch_rows(interface: Interface) -> int:
    fixed = interface.inputs[0].shape[0]
    return fixed or max(min(_BATCH_ROWS, _BATCH_BYTES // _row_bytes(interface)), 1)
