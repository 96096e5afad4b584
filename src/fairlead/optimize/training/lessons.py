"""What a network is trained on: rows, the right answers where they are known, and the answers of the model that it is to follow.

Takes a job, gives Lessons as tensors, split into a part to learn from and a part to judge by. Both are training rows: none of them is
evaluated on. Raises DataError for rows that nothing can be learned from. Never changes the job's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array
from fairlead.errors import DataError, UnsupportedError
from fairlead.optimize.job import PassJob
from fairlead.optimize.training.proof import reference_answers

_FEWEST_ROWS = 20
_HELD_OUT_RATIO, _MOST_HELD_OUT = 0.15, 2000
_TEACHER_ROWS = 256  # asked at once


@dataclass(frozen=True)
class Lessons:
    """Rows of `inputs` with what the `teacher` answers (float outputs by name) and the `target` (None where it is not known).

    `learned` and `held_out` are the rows of each part, by number.
    """

    inputs: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    target: Tensor | None
    learned: Tensor
    held_out: Tensor

    def batch(self, rows: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
        """Return inputs, the teacher's answers and the right answers of `rows`."""
        inputs = {name: value[rows] for name, value in self.inputs.items()}
        teacher = {name: value[rows] for name, value in self.teacher.items()}
        return inputs, teacher, None if self.target is None else self.target[rows]

    def sample(self, count: int) -> dict[str, Array]:
        """Return the first `count` rows that are learned from, as arrays."""
        return {name: value[self.learned[:count]].numpy() for name, value in self.inputs.items()}


def training_rows(job: PassJob) -> Dataset:
    """Return the job's training rows; raises UnsupportedError where there are none, DataError for too few or for missing numbers."""
    data = job.training
    if data is None or not data.inputs:
        raise UnsupportedError(
            "This pass trains, and there are no rows to train on.", hint="Give them with --train, or leave the pass out."
        )
    if data.rows < _FEWEST_ROWS:
        raise DataError(
            f"{data.rows} rows are too few to train on: at least {_FEWEST_ROWS} are needed.", hint="Give more rows with --train."
        )
    for name, values in data.inputs.items():
        if values.dtype.kind not in "biuf":
            raise UnsupportedError(f"The input '{name}' holds texts; training knows numbers only.", hint="Leave the passes that train out.")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"The training rows have no finite number in input '{name}', row {row}.", hint="Drop or fill such rows.")
    return data


def lessons_for(job: PassJob, model: onnx.ModelProto, target: Array | None) -> Lessons:
    """Return the job's rows with what `model` answers to them; `target` are right answers as `objective` wants them."""
    data = training_rows(job)
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: data.inputs[value.name] for value in model.graph.input if value.name not in names}
    teacher = teacher_answers(model, inputs, data.rows)
    shuffled = torch.from_numpy(np.random.default_rng(job.seed).permutation(data.rows))
    count = min(_MOST_HELD_OUT, max(4, round(data.rows * _HELD_OUT_RATIO)))
    return Lessons(
        {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()},
        {name: torch.from_numpy(value) for name, value in teacher.items()},
        None if target is None else torch.from_numpy(np.array(target)),
        shuffled[count:],
        shuffled[:count],
    )


def teacher_answers(model: onnx.ModelProto, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Return the float outputs of `model`, asked in batches; raises DataError where one is not finite."""
    parts: dict[str, list[Array]] = {}
    for start in range(0, count, _TEACHER_ROWS):
        rows = {name: value[start : start + _TEACHER_ROWS] for name, value in inputs.items()}
        for name, answer in reference_answers(model, rows).items():
            if isinstance(answer, np.ndarray) and answer.dtype.kind == "f":
                parts.setdefault(name, []).append(answer)
    answers = {name: np.concatenate(values).astype(np.float32) for name, values in parts.items()}
    for name, answer in answers.items():
        if not np.isfinite(answer).all():
            raise DataError(f"The model's own answers '{name}' to the training rows are not finite.", hint="Look at these rows.")
    return answers
