"""`fairlead batch`: a registered model over a file of any size."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from fairlead.app.batch import FAIL, SKIP, BatchDone, BatchRequest
from fairlead.app.batch import run_batch as run
from fairlead.app.wiring import build_house
from fairlead.cli.printing import StepProgress, emit_json, home_option, json_option


@click.command()
@click.argument("version")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Rows: .parquet, .csv, .npz, .npy or .jsonl.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Answers: .parquet, .csv, .jsonl or .npz.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Pass this column through to the output. Repeat for more.")
@click.option(
    "--outputs", multiple=True, metavar="NAME", help="Give this output as it is, in place of decision and scores. Repeat for more."
)
@click.option(
    "--on-error", type=click.Choice([FAIL, SKIP]), default=FAIL, show_default=True, help="What to do with a row that does not fit."
)
@click.option("--resume", "is_resumed", is_flag=True, help="Go on with a run that was interrupted, if there is one.")
@click.option("--overwrite", "allow_overwrite", is_flag=True, help="Replace the output where it is there already.")
@click.option("--workers", "worker_count", type=click.IntRange(1, 1024), help="Threads that answer.  [default: one for each core]")
@home_option
@json_option
def batch(
    version: str,
    *,
    source: Path,
    output: Path,
    keep: tuple[str, ...],
    outputs: tuple[str, ...],
    on_error: str,
    is_resumed: bool,
    allow_overwrite: bool,
    worker_count: int | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Ask VERSION for every row of a file of any size, in constant memory.

    Killed or stopped with Ctrl-C, the same command with --resume goes on where it was: each row is answered once.

    \b
    Examples:
      fairlead batch digits --input big.parquet --output out.parquet
      fairlead batch churn@production --input rows.csv --output out.csv --keep id --on-error skip
      fairlead batch churn --input rows.csv --output out.csv --keep id --on-error skip --resume
    """
    progress = RowProgress(is_silent=as_json)
    with _stoppable() as stop:
        request = BatchRequest(
            version, source, output, keep, outputs, on_error, is_resumed, allow_overwrite, worker_count or 0, stop.is_set
        )
        done = run(request, build_house(home), progress)
    if as_json:
        emit_json({"version": done.version, "rows": done.rows_in, "answered": done.rows_out, "left_out": _left_out(done)})
        return
    skipped = done.rows_in - done.rows_out
    click.echo(f"{output}: {done.rows_out:,} rows by {done.version}", err=True)
    if skipped:
        click.echo(f"{skipped:,} rows were left out: {done.listed}", err=True)


def _left_out(done: BatchDone) -> dict[str, object]:
    return {"rows": done.rows_in - done.rows_out, "listed": str(done.listed) if done.listed is not None else None}


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Let the first Ctrl-C (or SIGTERM) finish the chunk at hand, and the second end the process at once: both leave a run to resume."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        if stop.is_set():
            raise KeyboardInterrupt("Interrupted. Go on with the same command and --resume.")
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RowProgress(StepProgress):
    """Steps, and within a step the rows, their rate and the time that is left: live on a terminal, a line now and then in a log."""

    def __init__(self, *, is_silent: bool = False) -> None:
        super().__init__(is_silent=is_silent)
        self._began = time.perf_counter()
        self._begin: tuple[int, float] | None = None

    def step(self, text: str) -> None:
        """A step begins."""
        super().step(text)
        self._began = time.perf_counter()
        self._begin = None

    def advance(self, rows: int, fraction: float) -> None:
        """So many rows are done, that share of them."""
        now = time.perf_counter()
        if self._begin is None:
            self._begin, self._began = (rows, fraction), now
        self.tell(rate_sentence(rows, fraction, self._begin, now - self._began))


def rate_sentence(rows: int, fraction: float, begin: tuple[int, float], seconds: float) -> str:
    """Return e.g. `1,234,567 rows, 41 %, 123,456 rows/s, 12 s left`; rate and time count from `begin`, where the watching began."""
    parts = [f"{rows:,} rows", f"{fraction * 100:.0f} %"]
    done = fraction - begin[1]
    if seconds > 0 and done > 0:
        left = seconds * (1.0 - fraction) / done
        shown = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min" if left < 7200 else f"{left / 3600:.1f} h"
        parts += [f"{(rows - begin[0]) / seconds:,.0f} rows/s", f"{shown} left"]
    return ", ".join(parts)
