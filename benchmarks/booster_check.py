"""Takes one boosted model's file through the product as a user's file goes, and counts what differs from the library that trained it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import ENGINE_OF_FORM, Conversion
from fairlead.core.interface import Array, Interface
from fairlead.core.ports import Sandbox
from fairlead.engines.opening import open_engine
from fairlead.errors import FairleadError, MissingExtraError
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

LIMIT = 1e-6
_ROW_LIMIT = 20_000
HEADER = "| model | rows | decisions that differ | largest difference | verdict |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Model:
    """`save` writes the file and returns its path; `ask` gives the library's own answers, by the names of the interface's outputs.

    The name "" stands for the first output. `ordinary` are rows as in training. `refusal` is part of the reason with which the file has
    to be refused; "" where it is taken.
    A library that refuses infinities is not asked about them, a model that `takes_missing` values not is asked about no strange rows.
    """

    name: str
    save: Callable[[Path], Path]
    ask: Callable[[Array], dict[str, Array]]
    ordinary: Array
    refusal: str = ""
    takes_infinity: bool = True
    takes_missing: bool = True


@dataclass(frozen=True)
class Line:
    """One row of the table; `largest` is absolute below 1 and relative above."""

    name: str
    outcome: str
    detail: str
    rows: int = 0
    flips: int = 0
    largest: float = 0.0

    def markdown(self) -> str:
        """Return the row."""
        counted = f"{self.rows} | {self.flips} | {self.largest:.0e}" if self.rows else "- | - | -"
        return f"| {self.name} | {counted} | {self.outcome}{': ' + self.detail if self.outcome != 'right' else ''} |"


def check(model: Model, sandbox: Sandbox) -> Line:
    """Return what came out of one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        try:
            artifact = ingest(model.save(folder / "in"), folder / "work", sandbox=sandbox)
            conversion = convert(artifact, folder / "convert", sandbox=sandbox)
        except MissingExtraError as error:
            return Line(model.name, "absent", error.message)
        except FairleadError as error:
            is_meant = bool(model.refusal) and model.refusal in error.message
            return Line(model.name, "refused" if is_meant else "wrong", error.message)
        if model.refusal:
            return Line(model.name, "wrong", "taken, though it should be refused")
        return compare(model, artifact, conversion)


def compare(model: Model, artifact: Artifact, conversion: Conversion) -> Line:
    """Compare in batches of all rows, 7 and 1."""
    specs = artifact.interface.inputs
    probes = conversion.probes[specs[0].name] if conversion.probes else model.ordinary[:0]
    found = asked(model.ordinary, probes) if model.takes_missing else np.concatenate([model.ordinary, probes])
    rows = found if len(specs) > 1 else np.ascontiguousarray(found, dtype=specs[0].dtype.numpy)
    if not model.takes_infinity:
        rows = rows[~np.isinf(rows).any(axis=1)]
    expected = model.ask(rows)
    engine = open_engine(ENGINE_OF_FORM[conversion.form], conversion.path, artifact.interface, sandbox=OneShotSandbox())
    flips, largest = 0, 0.0
    for size in (len(rows), 7, 1):
        count = len(rows) if size == len(rows) else min(len(rows), 700)
        answers = [engine.run(tensors_of(artifact.interface, rows[start : start + size])) for start in range(0, count, size)]
        for name, want in expected.items():
            got = np.concatenate([answer[name or artifact.interface.outputs[0].name] for answer in answers])[:count]
            differs, distance = _differences(got, want[:count].reshape(got.shape))
            flips, largest = max(flips, differs), max(largest, distance)
    engine.close()
    outcome = "right" if not flips and largest <= LIMIT else "wrong"
    return Line(model.name, outcome, f"{largest:.1e}", len(rows), flips, largest)


def tensors_of(interface: Interface, rows: Array) -> dict[str, Array]:
    """Return a table as the interface takes it: whole, or a column for each input, where whole numbers stand for their text."""
    if len(interface.inputs) == 1:
        return {interface.inputs[0].name: rows}
    tensors = {}
    for place, spec in enumerate(interface.inputs):
        column = rows[:, place : place + 1]
        tensors[spec.name] = np.vectorize(str, otypes=[object])(column) if spec.is_category else column.astype(spec.dtype.numpy)
    return tensors


def _differences(got: Array, want: Array) -> tuple[int, float]:
    if got.dtype.kind != "f":
        return int((got.astype(str) != want.astype(str)).sum()), 0.0
    is_same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        distance = np.where(is_same, 0.0, np.abs(got.astype(np.float64) - want) / np.maximum(np.abs(want), 1.0))
    distance[np.isnan(distance)] = np.inf
    far = (distance > LIMIT).reshape(len(distance), -1).any(axis=1)
    return int(far.sum()), float(distance.max(initial=0.0))


def asked(ordinary: Array, probes: Array) -> Array:
    """Ordinary rows, the conversion's own threshold rows, and rows with NaN, infinities and values that no training saw."""
    width = ordinary.shape[1]
    strange = np.repeat(ordinary[:8], 9 * width, axis=0)
    marks = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1.0000000180025095e-35, 12_345.5, -3.0)
    for number in range(9 * width):
        strange[number :: 9 * width, number % width] = marks[number // width]
    return np.vstack([ordinary, strange, probes])[:_ROW_LIMIT]


def rows_of(lines: Iterable[Line], title: str, family: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield what the matrix of conversions wants: format, model, outcome, detail."""
    for line in lines:
        yield title, f"{'refused on purpose' if line.outcome == 'refused' else family}: {line.name}", line.outcome, line.detail
