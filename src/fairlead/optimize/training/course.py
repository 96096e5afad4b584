"""What every pass that trains begins and ends with: the model as a proven network, its lessons and aim, and the file that is written.

Takes a PassJob. Raises UnsupportedError for models that training cannot follow and where there are no rows, DataError for rows that nothing
can be learned from, SpecError for settings without a meaning. Writes nothing before the end.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

import onnx

from fairlead.core.interface import Array
from fairlead.core.pass_use import Setting
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.deadline import Deadline
from fairlead.optimize.training.fit import Fit, Schedule, fit
from fairlead.optimize.training.lessons import Lessons, lessons_for, training_rows
from fairlead.optimize.training.network import Network, network_of
from fairlead.optimize.training.objective import Objective, objective_of, target_of
from fairlead.optimize.training.prepare import trainable_copy, write_model
from fairlead.optimize.training.proof import TOLERANCE, prove

_PROOF_ROWS = 16


@dataclass(frozen=True)
class Course:
    """A job that trains, under way. `network` answers as `model`, shown on training rows."""

    job: PassJob
    model: onnx.ModelProto
    network: Network
    lessons: Lessons
    objective: Objective
    deadline: Deadline

    def train(self, network: Network, schedule: Schedule, *, share: float = 1.0) -> Fit:
        """Train `network` in place, within a `share` of the time that is left."""
        return fit(
            network, self.lessons, self.objective, schedule, deadline=self.deadline.share(share), seed=self.job.seed, report=self.job.report
        )

    def probe(self) -> dict[str, Array]:
        """Return a few training rows."""
        return self.lessons.sample(_PROOF_ROWS)

    def finish(
        self, network: Network, model: onnx.ModelProto, fits: list[Fit], notes: tuple[str, ...], *, tolerance: float = TOLERANCE
    ) -> PassResult:
        """Write `model`, show that it answers as the trained `network`, and say what was done."""
        write_model(model, self.job.destination)
        try:
            prove(network, onnx.load_model(self.job.destination), self.probe(), tolerance=tolerance)
        except UnsupportedError:
            self.job.destination.unlink()
            raise
        trained = sum(item.epoch_count for item in fits)
        seconds = sum(item.seconds for item in fits)
        last = fits[-1]
        aim = (
            "right answers and the original's" if self.lessons.target is not None else "the original's answers; the rows have no right ones"
        )
        said = (
            *notes,
            f"trained {trained} epochs on {len(self.lessons.learned)} rows in {seconds:.1f} s towards {aim}",
            f"the loss on {len(self.lessons.held_out)} held-out training rows went from {last.first_loss:.4g} to {last.best_loss:.4g}",
            *(note for item in fits for note in item.notes),
        )
        before, after = self.job.source.read_bytes(), self.job.destination.read_bytes()
        packed = [len(gzip.compress(content, 9, mtime=0)) for content in (before, after)]
        sizes = f"{len(before)} bytes became {len(after)}; compressed with gzip, {packed[0]} became {packed[1]}"
        versions = {"torch": metadata.version("torch"), "onnx": onnx.__version__}
        parameters = {**self.job.settings, "seed": self.job.seed, "thread_count": self.job.thread_count}
        return PassResult(versions, parameters, (*said, sizes))


def begin(job: PassJob, student: Callable[[onnx.ModelProto, Lessons], onnx.ModelProto] | None = None) -> Course:
    """Return the course of `job`; its setting `teacher` weighs the original's answers beside the right ones, from 0 to 1.

    `student` makes another network of the same inputs and outputs, to be trained on what the job's model answers.
    """
    deadline = Deadline(job.time_s)
    teacher_ratio = fraction(job.settings, "teacher", default=0.5, is_open=False)
    model = trainable_copy(job.source)
    if student is None:
        network_of(model)  # whether it can be trained at all is said before anything is asked
    lessons = lessons_for(job, model, target_of(training_rows(job), job.interface))
    if student is not None:
        model = student(model, lessons)
    network = network_of(model)
    objective = objective_of(model, job.interface, lessons.teacher, teacher_ratio, has_target=lessons.target is not None)
    course = Course(job, model, network, lessons, objective, deadline)
    prove(network, model, course.probe())
    return course


def fraction(settings: Mapping[str, Setting], name: str, *, default: float, is_open: bool = True) -> float:
    """Return a setting between 0 and 1; raises SpecError otherwise, also for the ends themselves where the interval is open."""
    value = float(settings.get(name, default))
    if not (0.0 < value < 1.0 if is_open else 0.0 <= value <= 1.0):
        raise SpecError(f"'{name}' is {value:g}.", hint="Give a number between 0 and 1.")
    return value


def count(settings: Mapping[str, Setting], name: str, *, default: int, smallest: int = 1, largest: int = 10_000) -> int:
    """Return a setting that counts something; raises SpecError outside of its limits."""
    value = int(settings.get(name, default))
    if not smallest <= value <= largest:
        raise SpecError(f"'{name}' is {value}.", hint=f"Give a whole number from {smallest} to {largest}.")
    return value
