"""The observation log as people ask for it: what is kept of a model, rows of it, and questions in SQL.

Takes a House, a model and a window; gives plain frozen values. Raises NotFoundError for a model of which nothing is kept, SpecError,
MissingExtraError where SQL is asked for and its extra is not installed, StorageError. It changes no row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairlead.app.wiring import House, scheme
from fairlead.core.interface import Array
from fairlead.core.observation_log import LogSize, LogWindow, ObservationLog, ObservationWriter
from fairlead.core.ports import Clock
from fairlead.core.version import check_name
from fairlead.errors import NotFoundError, SpecError
from fairlead.settings import Settings
from fairlead.stores.catalog import LOG_QUERIES, LOG_STORES
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.prediction_log_writing import LogWriter

if TYPE_CHECKING:
    from fairlead.stores.prediction_log_compaction import Compacted
    from fairlead.stores.prediction_log_files import LogFiles

FOLDER = "observations"
_FIRST_LOOK_S = 60.0
_FURTHER = 10.0


@dataclass(frozen=True)
class ModelLog:
    """How much is kept of a model."""

    model: str
    size: LogSize


@dataclass(frozen=True)
class Shown:
    """What a window holds: how much, the columns with what is in them, and its newest rows, the newest first."""

    model: str
    size: LogSize
    columns: Mapping[str, str]
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Asked:
    """The answer to a question in SQL. `is_cut`: there are more rows than were asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


def open_log(house: House) -> ObservationLog:
    """Return the observation log that the settings name; nothing is made before something is written. Raises SpecError."""
    from fairlead.stores.prediction_log import PredictionLog  # noqa: PLC0415 - Arrow takes 40 MB, and who only writes does without it

    return PredictionLog(log_files(house.settings))


def open_log_writer(house: House, pause: Callable[[], None]) -> ObservationWriter:
    """Return the log for whoever only writes it, which takes a third of the memory; `pause` is called between pieces of long work."""
    return LogWriter(log_files(house.settings), pause=pause)


def check_log(house: House) -> None:
    """Raise SpecError where the settings name no log, MissingExtraError where its kind of store is not installed. Opens nothing."""
    if _folder(house.settings) is None:
        LOG_STORES.load(scheme(house.settings.observations))


def may_hold_any(house: House) -> bool:
    """Whether anything can be in the log: False where its folder is empty, or has not been made. Opens nothing."""
    folder = _folder(house.settings)
    return folder is None or (folder.is_dir() and any(folder.iterdir()))


def log_files(settings: Settings) -> LogFiles:
    """Return the place of the log's files, and of what is made of them. Raises SpecError."""
    folder = _folder(settings)
    if folder is not None:
        return LogFolder(folder)
    files: LogFiles = LOG_STORES.load(scheme(settings.observations))(settings.observations, endpoint=settings.s3_endpoint)
    return files


def _folder(settings: Settings) -> Path | None:
    """Return the folder that the log is in; None where it is in another kind of store."""
    if "://" in settings.observations:
        return None
    return Path(settings.observations).expanduser().absolute() if settings.observations else settings.home / FOLDER


def logs(house: House) -> tuple[ModelLog, ...]:
    """Return how much is kept of each model."""
    log = open_log(house)
    return tuple(ModelLog(name, log.size(LogWindow(name))) for name in log.models())


def compact(name: str | None, settings: Settings, *, limit_s: float, clock: Clock = time.time) -> Compacted:
    """Make few files of many small ones, of one model or of all, and stop with a whole file after the time. Raises NotFoundError.

    The registry is not asked: who does this needs no secret of it.
    """
    from fairlead.stores.prediction_log_compaction import Compactor  # noqa: PLC0415 - as above

    files, until = log_files(settings), time.monotonic() + limit_s
    names = LogWriter(files).models()
    if name is not None and check_name(name) not in names:
        raise NotFoundError(f"Nothing is kept of '{name}'.", hint="See what is: fairlead observations")
    compactor = Compactor(files, clock, lambda: time.monotonic() > until)
    return compactor.compact_all([one for one in names if name in {None, one}])


def window_of(name: str, house: House, *, since_s: float, until_s: float = 0.0, version: int | None = None) -> LogWindow:
    """Return the window from `since_s` to `until_s` seconds ago. Raises SpecError."""
    if since_s <= until_s:
        raise SpecError("That span of time is empty.", hint="--since says how far to look back, --until where to stop: 24h, 1h.")
    now = house.clock()
    until = now - until_s if until_s else math.inf  # what a clock that ran ahead has written belongs to now
    return LogWindow(check_name(name), () if version is None else (version,), now - since_s, until)


def show(window: LogWindow, house: House, *, limit: int) -> Shown:
    """Return what the window holds; raises NotFoundError where nothing of the model is kept at all."""
    log = open_log(house)
    size = log.size(window)
    if not size.file_count and not size.unreadable and not log.size(LogWindow(window.model)).file_count:
        raise NotFoundError(
            f"Nothing is kept of '{window.model}'.", hint=f"Requests to a running server are: fairlead serve {window.model}"
        )
    return Shown(window.model, size, log.columns(window), tuple(_newest(log, window, size, limit)))


def ask(question: str, window: LogWindow, house: House, *, limit: int) -> Asked:
    """Return the answer to a question in SQL about the window's rows, the table `observations`."""
    run_sql = LOG_QUERIES.load("sql")
    log = open_log(house)
    kinds = log.columns(window)
    if not kinds:
        raise NotFoundError(f"Nothing of '{window.model}' is kept from that time.", hint="Look back further: --since 7d")
    answer = run_sql(question, log.scan(window, tuple(kinds)), kinds, limit=limit)
    return Asked(answer.columns, answer.rows, answer.is_cut)


def _newest(log: ObservationLog, window: LogWindow, size: LogSize, limit: int) -> list[dict[str, Any]]:
    """Return the newest rows: what is looked at grows until there are enough."""
    span_s = _FIRST_LOOK_S
    while limit and size.file_count:
        since = max(window.since, size.last_at - span_s)
        rows = [row for piece in log.scan(LogWindow(window.model, window.versions, since, window.until)) for row in _rows(piece)]
        if len(rows) >= limit or since <= max(window.since, size.first_at - 1.0):
            return sorted(rows, key=lambda row: float(row["at"]), reverse=True)[:limit]
        span_s *= _FURTHER
    return []


def _rows(piece: Mapping[str, Array]) -> list[dict[str, Any]]:
    names = list(piece)
    columns = [piece[name].tolist() if piece[name].ndim == 1 else list(piece[name]) for name in names]
    return [dict(zip(names, map(_plain, values), strict=True)) for values in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
