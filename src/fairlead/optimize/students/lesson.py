"""What a student learns from: rows, more rows mixed from them, and the teacher's answers to all.

Takes a PassJob; gives a Lesson. Training rows where there are any, else the calibration rows; no right answers are needed, since the
teacher knows. Raises UnsupportedError where there are too few rows, or the teacher cannot have a student.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from fairlead.core.interface import Array, Tensors
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.job import PassJob
from fairlead.optimize.students.surface import Surface, read_surface, table_of, wanted_of
from fairlead.optimize.trees.mixing import mixed_rows
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.observed import run
from fairlead.optimize.trees.study import ROW_LIMIT, rows_of

_NAMES_BYTES = 512  # that operators and names may take more: nothing that counts
_HELD_OUT = 5  # every fifth row judges


@dataclass(frozen=True)
class Lesson:
    """`table` (rows, features) are what the student sees, `objective` what its sums should lead to; rows of `is_judging` only judge."""

    surface: Surface
    table: Array = field(repr=False)
    objective: Objective
    is_judging: Array = field(repr=False)
    real_count: int


def lesson_of(job: PassJob) -> Lesson:
    """Return what a student of the model of `job.source` learns from; the setting `mixed` is how many mixed rows come with each."""
    copies = int(job.settings["mixed"])
    if not 0 <= copies <= 100:
        raise SpecError(f"'mixed' is {copies}; it has to lie between 0 and 100.", hint="For example mixed=2.")
    model = onnx.load_model(job.source)
    names = [value.name for value in model.graph.output]
    rows, _ = rows_of(job)
    answers = run(model, rows, names)
    surface = read_surface(model, answers, job.interface)
    table, wanted = table_of(surface, rows), wanted_of(surface, answers)
    count = len(table)
    copies = min(copies, max(ROW_LIMIT // count - 1, 0))
    if copies:
        more = mixed_inputs(surface, rows, copies, job.seed)
        table = np.concatenate([table, table_of(surface, more)])
        wanted = np.concatenate([wanted, wanted_of(surface, run(model, more, names))])
    judging = np.random.default_rng(job.seed).permutation(count)[: count // _HELD_OUT]
    is_judging = np.isin(np.arange(len(table)) % count, judging)  # with a row go its mixtures
    return Lesson(surface, table, Objective(surface.link, wanted), is_judging, count)


def check_smaller(job: PassJob) -> None:
    """Raise UnsupportedError where the student that was written takes as much room as its teacher."""
    sizes = job.destination.stat().st_size, job.source.stat().st_size
    if sizes[0] >= sizes[1] + _NAMES_BYTES:
        raise UnsupportedError(f"The student takes {sizes[0]:,} bytes, its teacher {sizes[1]:,}.", hint="Try a smaller student, or none.")


def mixed_inputs(surface: Surface, rows: Tensors, copies: int, seed: int) -> dict[str, Array]:
    """Return mixed rows as the teacher's inputs take them: values that occur in the same place."""
    parts = [np.asarray(rows[value.name]) for value in surface.inputs]
    flat = [part.reshape(len(part), -1) for part in parts]
    mixed = mixed_rows(np.concatenate([part.astype(np.float64) for part in flat], axis=1), copies, seed)
    found, place = {}, 0
    for value, part, own in zip(surface.inputs, parts, flat, strict=True):
        columns = mixed[:, place : place + own.shape[1]]
        found[value.name] = np.ascontiguousarray(columns.reshape(-1, *part.shape[1:])).astype(part.dtype)
        place += own.shape[1]
    return found
