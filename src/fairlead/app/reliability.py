"""How far a version's confidences can be believed, measured on the release's own labelled rows and written with it.

`write_reliability` takes the evidence of a deployment and gives reliability.json beside it: what accuracy without labels is estimated from
(`monitor.quality.reliability`). Nothing is written for drawn rows, without right answers, for numbers, and for fewer than 100 rows. Raises
what opening the model raises.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fairlead.app.evidence import Evidence
from fairlead.app.wiring import House
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.core.outcome import RELIABILITY, LabelledRows, Reliability
from fairlead.engines.opening import open_engine
from fairlead.monitor.quality.confidence import confidence_of
from fairlead.monitor.quality.labels import UNDECIDED, LabelReader
from fairlead.monitor.quality.reliability import ROWS_MIN, learn
from fairlead.monitor.quality.support import flat_inputs, learn_support
from fairlead.stores.document import dump
from fairlead.verify.run_rows import run_in_pieces

_ROWS_MOST = 20_000


def write_reliability(evidence: Evidence, folder: Path, house: House) -> dict[str, Path]:
    """Write how often answers of which confidence were right into `folder` and return name -> path; empty where nothing can be said."""
    rows, interface = evidence.rows, evidence.conversion.interface
    if not can_be_learned(interface, rows):
        return {}
    candidate, path = evidence.proof.candidate, evidence.proof.model.path
    engine = open_engine(
        candidate.engine, path, interface, thread_count=candidate.thread_count, sandbox=house.sandbox, session=candidate.session
    )
    taken = rows.take(0, _ROWS_MOST)
    try:
        outputs = run_in_pieces(engine, taken.inputs)
    finally:
        engine.close()
    found = reliability_from(interface, taken, outputs, seed=house.settings.seed)
    if found is None:
        return {}
    written = folder / RELIABILITY
    written.write_bytes(dump(found))
    return {RELIABILITY: written}


def can_be_learned(interface: Interface, rows: Dataset) -> bool:
    """Whether rows say how often decisions with a confidence were right."""
    rule = interface.decision
    is_deciding = rule is not None and rule.kind is not DecisionKind.VALUE
    return is_deciding and not rows.is_synthetic and rows.target is not None and rows.target.ndim == 1 and rows.rows >= ROWS_MIN


def reliability_from(interface: Interface, rows: Dataset, outputs: Tensors, *, seed: int = 0) -> Reliability | None:
    """Return how often the answers `outputs` to labelled rows were right, by confidence; None where they have none."""
    decisions = decide(interface, outputs)
    if rows.target is None or decisions.size != rows.rows:
        return None
    confidence = confidence_of(interface, outputs)
    if np.isnan(confidence).all():
        return None
    reader = LabelReader(interface)
    said = reader.number_of(decisions.reshape(rows.rows))
    said[np.isnan(confidence)] = UNDECIDED
    right = _right(interface, rows.target, reader)
    flat = flat_inputs(interface, rows.inputs)
    support = learn_support(flat, seed=seed) if flat is not None else None
    nothing = np.zeros(rows.rows)
    return learn(LabelledRows(nothing, nothing.astype(np.int64), said, right, ~np.isnan(right), confidence), support, flat)


def _right(interface: Interface, target: Array, reader: LabelReader) -> Array:
    """Return right answers as class numbers: the data's are those already, but for models whose output holds the label itself."""
    rule = interface.decision
    if rule is not None and rule.kind is DecisionKind.LABEL:
        return np.asarray([reader.read(label) for label in target.tolist()], dtype=np.float64)
    return np.asarray(target, dtype=np.float64)
