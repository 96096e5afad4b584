"""What the observation log says of a version's answers: rows with labels, times, inputs, and answers of its uncompressed original to them.

Takes a House, a version and a window; gives core values and arrays. Raises DataError where what decides was not recorded, StorageError,
and what opening a version raises. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.app.model import open_version
from fairlead.app.wiring import House
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.core.observation_log import INPUT, LABEL, OUTPUT, LogWindow, ObservationLog, columns_of, is_text, row_width
from fairlead.core.outcome import CompressionLoss
from fairlead.core.ports import Engine
from fairlead.core.version import Version
from fairlead.errors import DataError, FairleadError
from fairlead.monitor.quality.compression import measured_loss
from fairlead.monitor.quality.labels import Gathered, LabelReader, deciding_outputs, gather, tensor_of, wanted_columns
from fairlead.monitor.quality.support import support_columns

ROW_LIMIT = 5_000_000  # rows of a window that are held at once: some 50 bytes each
_REPLAYED = 20_000
_SUPPORTED = 20_000
_BATCH = 256
NOT_COMPRESSED = "it is not compressed"


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
    wanted = wanted_columns(interface, slices)
    known = log.columns(window)
    absent = [name for name in wanted if name.startswith(OUTPUT) and name not in known]
    if known and absent:
        raise DataError(
            f"The log has no column '{absent[0]}', by which the model decides.", hint="Let it be kept: fairlead observe --redact."
        )
    return gather(_bounded(log.scan(window, wanted)), interface, slices, has_scores=has_scores)


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
    if not columns or any(known.get(name) not in {"flag", "whole", "number"} for name in columns):
        return None
    parts, count = [], 0
    for piece in log.scan(window, columns):
        parts.append(np.stack([np.asarray(piece[name], dtype=np.float64) for name in columns], axis=1))
        count += len(parts[-1])
        if count >= _SUPPORTED:
            break
    return np.concatenate(parts) if parts else None


@dataclass(frozen=True)
class Replayed:
    """The loss by compression, or why it cannot be told."""

    loss: CompressionLoss | None
    problem: str = ""


def replay(version: Version, interface: Interface, log: ObservationLog, window: LogWindow, house: House) -> Replayed:
    """Let the version's uncompressed original answer what was recorded, and compare: at most 20,000 rows."""
    columns = [name for spec in interface.inputs for name in columns_of(spec, INPUT)]
    known = log.columns(window)
    if interface.decision is None or interface.decision.kind is DecisionKind.VALUE:
        return Replayed(None, "its answers are no decisions")
    if any(is_text(spec) or len(columns_of(spec, INPUT)) != row_width(spec) for spec in interface.inputs):
        return Replayed(None, "its inputs are not recorded as they came (texts, images), so its original cannot be asked again")
    if any(known.get(name) not in {"flag", "whole", "number"} for name in columns):
        return Replayed(None, "some of its inputs are not recorded, so its original cannot be asked again")
    loaded = open_version(version, house)
    try:
        if loaded.open_twin is None:
            return Replayed(None, NOT_COMPRESSED)
        twin = loaded.open_twin()
        try:
            return Replayed(_compare(twin, interface, log, window))
        except FairleadError as error:
            return Replayed(None, f"its original cannot answer what was recorded: {error.message}")
        finally:
            twin.close()
    finally:
        loaded.engine.close()
        if loaded.release is not None:
            loaded.release()


def _compare(twin: Engine, interface: Interface, log: ObservationLog, window: LogWindow) -> CompressionLoss:
    pairs = _Pairs(interface)
    wanted = wanted_columns(interface)
    columns = (*wanted, *(name for spec in interface.inputs for name in columns_of(spec, INPUT)))
    for piece in log.scan(window, columns):
        is_answer = np.asarray(piece["status"] == "ok", dtype=bool)
        rows = {name: column[is_answer] for name, column in piece.items()}
        inputs = {spec.name: tensor_of(rows, spec, INPUT).astype(spec.dtype.numpy) for spec in interface.inputs}
        for start in range(0, int(is_answer.sum()), _BATCH):
            answers = twin.run({name: tensor[start : start + _BATCH] for name, tensor in inputs.items()})
            pairs.add({name: column[start : start + _BATCH] for name, column in rows.items()}, answers)
        if pairs.count >= _REPLAYED:
            break
    return pairs.loss()


class _Pairs:
    """Answers of both models to the same rows, with labels as far as there are."""

    def __init__(self, interface: Interface) -> None:
        self._interface, self._reader = interface, LabelReader(interface)
        self._parts: list[tuple[Array, ...]] = []
        self.count = 0

    def add(self, rows: Mapping[str, Array], answers: Tensors) -> None:
        """Take rows of the log and what the original says to them."""
        interface, reader = self._interface, self._reader
        said = {spec.name: tensor_of(rows, spec, OUTPUT) for spec in deciding_outputs(interface)}
        right = np.asarray([reader.read(label) for label in rows[LABEL].tolist()], dtype=np.float64)
        ours, theirs = (reader.number_of(decide(interface, outputs).reshape(len(right))) for outputs in (said, answers))
        self._parts.append((ours, theirs, right))
        self.count += len(right)

    def loss(self) -> CompressionLoss:
        """Return the loss."""
        if not self._parts:
            return measured_loss(np.zeros(0), np.zeros(0), np.zeros(0))
        ours, theirs, right = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return measured_loss(ours, theirs, right)


def _bounded(pieces: Iterator[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
    count = 0
    for piece in pieces:
        count += len(piece["at"])
        if count > ROW_LIMIT:
            raise DataError(f"The window holds more than {ROW_LIMIT:,} rows.", hint="Look at less of it: --since 24h.")
        yield piece
