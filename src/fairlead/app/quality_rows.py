"""What the observation log says of a version's answers: rows with labels, times, inputs.

Takes a log and a window; gives core values and arrays. Raises DataError where what decides was not recorded, StorageError. It changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fairlead.core.interface import Array, DecisionKind, Interface
from fairlead.core.observation_log import INPUT, OUTPUT, LogWindow, ObservationLog, columns_of
from fairlead.errors import DataError
from fairlead.monitor.quality.labels import Gathered, gather, wanted_columns
from fairlead.monitor.quality.support import support_columns

ROW_LIMIT = 5_000_000  # rows of a window that are held at once: some 50 bytes each
_SUPPORTED = 20_000
NUMBERS = frozenset({"flag", "whole", "number"})  # kinds of columns of the log


@dataclass(frozen=True)
class Times:
    """What answered requests took (ms), how many rows they had, and when they came (Unix seconds)."""

    latency_ms: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    rows: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    at: Array = field(default_factory=lambda: np.zeros(0), repr=False)


def slice_column(by: str, log: ObservationLog, window: LogWindow) -> str:
    """Return the log's column that a person means by a name; raises DataError that says which there are."""
    known = log.columns(window)
    for name in (f"{INPUT}{by}", by, f"{OUTPUT}{by}"):
        if name in known:
            return name
    shown = ", ".join(sorted(name.removeprefix(INPUT) for name in known if not name.startswith(OUTPUT)))
    raise DataError(f"The log has no column '{by[:64]}'.", hint=f"There is: {shown[:300]}." if known else "Nothing is recorded yet.")


def read_rows(
    log: ObservationLog, window: LogWindow, interface: Interface, slices: Sequence[str] = (), *, has_scores: bool = False
) -> Gathered:
    """Return the answered rows of the window with their labels; raises DataError where there are more than can be held."""
    known = log.columns(window)
    interface = as_recorded(interface, known)
    wanted = wanted_columns(interface, slices)
    absent = [name for name in wanted if name.startswith(OUTPUT) and name not in known]
    if known and absent:
        raise DataError(
            f"The log has no column '{absent[0]}', by which the model decides.", hint="Let it be kept: fairlead observe --redact."
        )
    return gather(_bounded(log.scan(window, wanted)), interface, slices, has_scores=has_scores)


def as_recorded(interface: Interface, known: Mapping[str, str]) -> Interface:
    """Return the interface, without scores where the model gives labels and `known` columns lack them: a label is enough to be right."""
    rule = interface.decision
    if rule is None or rule.kind is not DecisionKind.LABEL or not rule.scores:
        return interface
    is_there = all(name in known for name in columns_of(interface.output(rule.scores), OUTPUT))
    return interface if is_there else replace(interface, decision=replace(rule, scores=""))


def read_times(log: ObservationLog, window: LogWindow) -> Times:
    """Return what the answered requests of the window took."""
    parts = []
    for piece in log.scan(window, ("at", "row", "latency_s", "status")):
        starts = np.flatnonzero(piece["row"] == 0)
        if not len(starts):
            continue
        counts = np.diff(np.append(starts, len(piece["row"])))
        is_answer = np.asarray(piece["status"][starts] == "ok", dtype=bool)
        parts.append((piece["latency_s"][starts][is_answer] * 1e3, counts[is_answer], piece["at"][starts][is_answer]))
    if not parts:
        return Times()
    return Times(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def read_inputs(log: ObservationLog, window: LogWindow, interface: Interface) -> Array | None:
    """Return inputs of the window as flat numbers, as `support` takes them; None where some are not recorded as such."""
    columns = support_columns(interface)
    known = log.columns(window)
    if not columns or any(known.get(name) not in NUMBERS for name in columns):
        return None
    parts, count = [], 0
    for piece in log.scan(window, columns):
        parts.append(np.stack([np.asarray(piece[name], dtype=np.float64) for name in columns], axis=1))
        count += len(parts[-1])
        if count >= _SUPPORTED:
            break
    return np.concatenate(parts) if parts else None


def _bounded(pieces: Iterator[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
    count = 0
    for piece in pieces:
        count += len(piece["at"])
        if count > ROW_LIMIT:
            raise DataError(f"The window holds more than {ROW_LIMIT:,} rows.", hint="Look at less of it: --since 24h.")
        yield piece
