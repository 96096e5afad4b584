"""What a file of the observation log is called, so that a window is found by names alone. Pure.

    <model>/<day>/v<version>-<first>-<last>-<writer>-<number>.parquet       rows; first and last are their milliseconds of receipt
    <model>/labels/<day>/<first>-<last>-<writer>-<number>.parquet           labels, by when they were told

Days are UTC, of the first row. A writer is a process; it numbers its files. A file that was made of others has `-m<milliseconds>` behind
that, when it was made. A name that is none of these belongs to somebody else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fairlead.core.observation_log import LogWindow

_MODEL = r"(?P<model>[a-z0-9][a-z0-9._-]{0,127})"
_SPAN = r"(?P<first>-?\d{1,16})-(?P<last>-?\d{1,16})-(?P<writer>[0-9a-f]{8})-(?P<number>\d{1,12})(?:-m(?P<merged>\d{1,16}))?\.parquet"
_ROWS = re.compile(rf"{_MODEL}/\d{{4}}-\d\d-\d\d/v(?P<version>[1-9]\d{{0,8}})-{_SPAN}")
_LABELS = re.compile(rf"{_MODEL}/labels/\d{{4}}-\d\d-\d\d/{_SPAN}")
_MS = 1e3  # milliseconds per second
_LAST_S = 253_402_300_799.0  # 9999-12-31: what a clock may say before it is not believed
SUFFIX = ".parquet"


@dataclass(frozen=True)
class LogFile:
    """A file by its name. `version` is 0 for labels; times are Unix seconds, rounded outward to milliseconds. `merged_at` is when it was
    made of other files; 0 for one that was not.
    """

    path: str
    model: str
    version: int
    first_at: float
    last_at: float
    size_bytes: int = 0
    merged_at: float = 0.0

    @property
    def folder(self) -> str:
        """Where it lies: the model and the day, of labels or rows."""
        return self.path.rpartition("/")[0]

    @property
    def is_labels(self) -> bool:
        """Whether it holds labels."""
        return not self.version

    def touches(self, window: LogWindow) -> bool:
        """Whether rows of the window can be in it."""
        is_version = not window.versions or self.version in window.versions
        return is_version and self.last_at >= window.since and self.first_at < window.until

    def lies_within(self, window: LogWindow) -> bool:
        """Whether all of its rows are of the window."""
        return self.first_at >= window.since and self.last_at < window.until


def name_rows(model: str, version: int, span: tuple[float, float], writer: str, number: int) -> str:
    """Return the path for rows received between the two Unix times."""
    return f"{model}/{_day(span[0])}/v{version}-{_span(span)}-{writer}-{number}{SUFFIX}"


def name_labels(model: str, span: tuple[float, float], writer: str, number: int) -> str:
    """Return the path for labels told between the two Unix times."""
    return f"{model}/labels/{_day(span[0])}/{_span(span)}-{writer}-{number}{SUFFIX}"


def name_merged(files: Sequence[LogFile], merged_at: float, writer: str, number: int) -> str:
    """Return the path for what is in `files`, which lie in one folder and are of one version."""
    span = min(file.first_at for file in files), max(file.last_at for file in files)
    kind = "" if files[0].is_labels else f"v{files[0].version}-"
    return f"{files[0].folder}/{kind}{_span(span)}-{writer}-{number}-m{max(math.ceil(believed(merged_at) * _MS), 1)}{SUFFIX}"


def read_name(path: str, size_bytes: int = 0) -> LogFile | None:
    """Return what a path says; None where it is not one of the log's."""
    match = _ROWS.fullmatch(path) or _LABELS.fullmatch(path)
    if match is None:
        return None
    said = match.groupdict()
    span = int(said["first"]) / _MS, int(said["last"]) / _MS
    return LogFile(path, said["model"], int(said.get("version") or 0), *span, size_bytes, int(said["merged"] or 0) / _MS)


def believed(at: float) -> float:
    """Return a clock's time as far as a calendar goes: a clock that has lost its mind must not lose rows."""
    return min(max(at, 0.0), _LAST_S) if math.isfinite(at) else 0.0


def _day(at: float) -> str:
    return datetime.fromtimestamp(believed(at), UTC).strftime("%Y-%m-%d")


def _span(span: tuple[float, float]) -> str:
    return f"{math.floor(believed(span[0]) * _MS)}-{math.ceil(believed(span[1]) * _MS)}"
