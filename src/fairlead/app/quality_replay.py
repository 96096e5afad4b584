"""What a compressed version's uncompressed original would have said to the rows that were recorded: the loss by compression in production.

Takes a version, its interface, the log and a window; gives Replayed. Rows are asked again of the version itself, too: where it does not
say again what was recorded, the inputs are not as they came (redacted, bucketed), and the row says nothing. At most 20,000 rows, spread
evenly over the window; only labelled ones where there are enough of them, since only they tell right from wrong. Raises StorageError and
what opening a version raises. It changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from fairlead.app.model import open_version
from fairlead.app.quality_rows import NUMBERS, as_recorded
from fairlead.app.wiring import House
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.core.observation_log import INPUT, LABEL, OUTPUT, LogWindow, ObservationLog, columns_of, is_text, row_width
from fairlead.core.outcome import CompressionLoss, LabelledRows
from fairlead.core.ports import Engine
from fairlead.core.version import Version
from fairlead.errors import FairleadError, StorageError
from fairlead.monitor.quality.compression import measured_loss
from fairlead.monitor.quality.labels import UNDECIDED, LabelReader, deciding_outputs, tensor_of, wanted_columns

ROWS_MOST = 20_000
LABELLED_MIN = 1_000  # with so many labels, rows without one are not asked again
TIME_S = 120.0  # a slow model answers fewer rows: the oldest
_UNLIKE_MOST = 0.05  # share of rows that may be answered otherwise than when they were recorded
_BATCH = 256


@dataclass(frozen=True)
class Replayed:
    """The loss by compression, or why it cannot be told; both empty for a version that is not compressed."""

    loss: CompressionLoss | None = None
    problem: str = ""


def replay(version: Version, interface: Interface, log: ObservationLog, window: LogWindow, rows: LabelledRows, house: House) -> Replayed:
    """Let the version's uncompressed original answer what was recorded, and compare; `rows` are the window's."""
    if not any(entry.name == TWIN_FILE for entry in version.manifest.files) or not rows.count:
        return Replayed()
    known = log.columns(window)
    interface = as_recorded(interface, known)
    problem = _problem(interface, known)
    if problem:
        return Replayed(problem=problem)
    sample = _Sample(rows.count, int(rows.is_labelled.sum()))
    with ExitStack() as opened:
        loaded = open_version(version, house)
        if loaded.release is not None:
            opened.callback(loaded.release)
        opened.callback(loaded.engine.close)
        if loaded.open_twin is None:
            return Replayed()
        try:
            twin = loaded.open_twin()
            opened.callback(twin.close)
            pairs = _Pairs(interface, loaded.engine, twin)
            _ask(pairs, sample, interface, log, window)
        except StorageError:
            raise
        except FairleadError as error:
            return Replayed(problem=f"its original cannot answer what was recorded: {error.message}")
    if pairs.unlike > _UNLIKE_MOST * pairs.asked:
        share = pairs.unlike / pairs.asked
        again = f"{share:.0%} of the rows are answered otherwise when they are asked again"
        return Replayed(problem=f"{again}: their inputs were not recorded as they came")
    return Replayed(pairs.loss())


def _problem(interface: Interface, known: Mapping[str, str]) -> str:
    """Return why rows cannot be asked again; "" where they can."""
    if interface.decision is None or interface.decision.kind is DecisionKind.VALUE:
        return "its answers are no decisions"
    if any(is_text(spec) or len(columns_of(spec, INPUT)) != row_width(spec) for spec in interface.inputs):
        return "its inputs are not recorded as they came (texts, images); fairlead serve compares live by the setting twin_share"
    if any(known.get(name) not in NUMBERS for spec in interface.inputs for name in columns_of(spec, INPUT)):
        return "some of its inputs are not recorded, so its original cannot be asked again"
    return ""


def _ask(pairs: _Pairs, sample: _Sample, interface: Interface, log: ObservationLog, window: LogWindow) -> None:
    columns = (*wanted_columns(interface), *(name for spec in interface.inputs for name in columns_of(spec, INPUT)))
    end = time.monotonic() + TIME_S
    for piece in log.scan(window, columns):
        places = sample.places(piece)
        for start in range(0, len(places), _BATCH):
            pairs.add({name: column[places[start : start + _BATCH]] for name, column in piece.items()})
            if time.monotonic() > end:
                return


class _Sample:
    """Which rows are asked again: every one in so many, spread over all of the window."""

    def __init__(self, count: int, labelled: int) -> None:
        self._is_labelled_only = labelled >= LABELLED_MIN
        self._step = max(math.ceil((labelled if self._is_labelled_only else count) / ROWS_MOST), 1)
        self._seen = 0

    def places(self, piece: Mapping[str, Array]) -> Array:
        """Return the places of a piece's rows that are asked again."""
        fits = np.asarray(piece["status"] == "ok", dtype=bool)
        if self._is_labelled_only:
            fits &= np.asarray([label is not None for label in piece[LABEL].tolist()], dtype=bool)
        found = np.flatnonzero(fits)
        chosen = found[(self._seen + np.arange(len(found))) % self._step == 0]
        self._seen += len(found)
        return np.asarray(chosen)


class _Pairs:
    """Answers of both models to the same rows, with labels as far as there are. `asked` rows, of which `unlike` were not answered again as
    they were recorded.
    """

    def __init__(self, interface: Interface, model: Engine, twin: Engine) -> None:
        self._interface, self._model, self._twin, self._reader = interface, model, twin, LabelReader(interface)
        self._parts: list[tuple[Array, ...]] = []
        self.asked = self.unlike = 0

    def add(self, rows: Mapping[str, Array]) -> None:
        """Ask rows of the log again."""
        columns = {spec.name: tensor_of(rows, spec, INPUT) for spec in self._interface.inputs}
        whole = np.ones(len(rows[LABEL]), bool)
        for spec in self._interface.inputs:
            if spec.dtype.numpy.kind in "iub":  # a number that has no place in the model's type was not recorded
                whole &= np.isfinite(columns[spec.name].astype(np.float64)).reshape(len(whole), -1).all(axis=1)
        self.asked += len(whole)
        self.unlike += int((~whole).sum())
        if not whole.any():
            return
        inputs = {spec.name: columns[spec.name][whole].astype(spec.dtype.numpy) for spec in self._interface.inputs}
        said = {spec.name: tensor_of(rows, spec, OUTPUT)[whole] for spec in deciding_outputs(self._interface)}
        ours, again, theirs = (self._numbers(outputs) for outputs in (said, self._model.run(inputs), self._twin.run(inputs)))
        right = np.asarray([self._reader.read(label) for label in rows[LABEL][whole].tolist()], dtype=np.float64)
        same = ours == again
        self.unlike += int((~same).sum())
        self._parts.append((ours[same], theirs[same], right[same]))

    def loss(self) -> CompressionLoss:
        """Return the loss."""
        if not self._parts:
            return measured_loss(np.zeros(0), np.zeros(0), np.zeros(0))
        ours, theirs, right = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return measured_loss(ours, theirs, right)

    def _numbers(self, outputs: Tensors) -> Array:
        decisions = decide(self._interface, outputs)
        found = self._reader.number_of(decisions.reshape(len(decisions)))
        found[undecided(self._interface, outputs)] = UNDECIDED
        return found
