"""Trains a network with fewer operators on what the model answers: convolutions that take the steps of the poolings behind them, at most
`depth` of them in a row. Lossy.

For small convolutional networks: there each operator takes about as long as its arithmetic. The student has the model's own layers without
the poolings, narrowed to `width`; it learns from the training rows and from `shifts` shifted copies of each, answered by the model. Refuses
models in which nothing can be joined so, and what training does not know.
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.course import begin, count, fraction
from fairlead.optimize.training.cutting import cut
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.joining import joined
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.prepare import trainable_copy
from fairlead.optimize.training.shifting import with_shifts
from fairlead.optimize.training.slimming import slimmed
from fairlead.optimize.training.striding import strided


def distill_strided(job: PassJob) -> PassResult:
    """Write a network with strided convolutions that answers like the model of `job`."""
    width = fraction(job.settings, "width", default=0.5)
    epochs = count(job.settings, "epochs", default=12)
    copies = count(job.settings, "shifts", default=4, smallest=0, largest=100)
    depth = count(job.settings, "depth", default=1, largest=100)
    teacher, said = trainable_copy(job.source), ""

    def make(model: onnx.ModelProto, _lessons: Lessons) -> onnx.ModelProto:
        nonlocal said
        student, pools = strided(model)
        student, layers = joined(student, depth)
        if not pools + layers:
            raise IdlePassError("The model has no pooling right behind a convolution.", hint="Use distill_network, or prune_structured.")
        said = f"{pools} poolings became steps of the convolutions before them, {layers} convolutions part of those behind them"
        return student

    with torch_threads(job.thread_count):
        course = begin(job, make)
        lessons = with_shifts(course.lessons, course.objective, teacher, course.network, copies, job.seed)
        course = replace(course, lessons=lessons)
        narrow, widths = slimmed(course, width)
        job.report(widths)
        fit = course.train(narrow.network, Schedule(epochs))
        return course.finish(narrow.network, cut(narrow.network, narrow.coupling, {}), [fit], (said, widths))
