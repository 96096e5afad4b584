"""Trains a smaller network on what the model answers, and on the right answers where they are known. Lossy; smaller and faster.

The student is the model's own network with every group of units narrowed to `width` of it (its most important units to start from, or fresh
weights), or a small dense network over a table: then the teacher may be any model, also trees. Refuses models that training does not know
(as students of their own), and students that would not be smaller.
"""

from __future__ import annotations

import onnx

from fairlead.errors import SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.course import begin, count, fraction
from fairlead.optimize.training.cutting import cut
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.prepare import with_weights
from fairlead.optimize.training.slimming import slimmed
from fairlead.optimize.training.student import dense_student, draw_again

_STUDENTS = ("same", "dense")
_STARTS = ("pruned", "fresh")
_SLOWER = 0.5  # of the learning rate, for weights that know something


def distill_network(job: PassJob) -> PassResult:
    """Write a smaller network that answers like the model of `job`."""
    student, start = str(job.settings.get("student", "same")), str(job.settings.get("start", "pruned"))
    if student not in _STUDENTS or start not in _STARTS:
        raise SpecError(f"'student' is '{student}' and 'start' is '{start}'.", hint=f"Known: {', '.join(_STUDENTS)}; {', '.join(_STARTS)}.")
    with torch_threads(job.thread_count):
        return _dense(job) if student == "dense" else _narrow(job, is_fresh=start == "fresh")


def _narrow(job: PassJob, *, is_fresh: bool) -> PassResult:
    """The student has the teacher's layers, narrower."""
    width = fraction(job.settings, "width", default=0.5)
    epochs = count(job.settings, "epochs", default=24)
    course = begin(job)
    narrow, said = slimmed(course, width)
    if is_fresh:
        draw_again(narrow.network, job.seed)
    job.report(said)
    rate = Schedule(epochs).learning_rate * (1.0 if is_fresh else _SLOWER)
    fit = course.train(narrow.network, Schedule(epochs, learning_rate=rate))
    origin = "fresh weights" if is_fresh else "the original's most important units"
    notes = (f"{said}; it began with {origin}",)
    return course.finish(narrow.network, cut(narrow.network, narrow.coupling, {}), [fit], notes)


def _dense(job: PassJob) -> PassResult:
    """The student is a dense network of its own."""
    hidden = count(job.settings, "hidden", default=32, largest=4096)
    epochs = count(job.settings, "epochs", default=24)

    def make(teacher: onnx.ModelProto, lessons: Lessons) -> onnx.ModelProto:
        return dense_student(teacher, lessons, job.interface, (hidden, hidden), job.seed)

    course = begin(job, make)
    size = sum(value.numel() for value in course.network.parameters.values())
    job.report(f"the student is a dense network with two layers of {hidden}")
    fit = course.train(course.network, Schedule(epochs))
    notes = (f"the student is a dense network with two layers of {hidden} and {size} weights",)
    return course.finish(course.network, with_weights(course.network.model, course.network.stored()), [fit], notes)
