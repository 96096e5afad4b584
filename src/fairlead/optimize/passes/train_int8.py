"""Trains a network to answer in 8 bits: rounding is played through while it learns, then written as int8. Lossy; a quarter of the size.

Convolutions and products with stored weights, and the values between them; normalizations are folded into weights first. Weights take 7 of
the 8 bits, or fewer: processors without VNNI add pairs of products in 16 bits, and saturate where signed weights take 8. The result often
runs slower than float32 on small networks: measure it. Refuses models without such layers, and models that training does not know.
"""

from __future__ import annotations

import onnx

from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import prepared
from fairlead.optimize.training.course import begin, count
from fairlead.optimize.training.fake_quantization import plan_quantization
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.prepare import readied
from fairlead.optimize.training.quantized_graph import quantized_model

_OBSERVED_ROWS = 512
_LEARNING_RATE = 5e-4  # the weights know their task; they learn to be rounded
_TOLERANCE = 0.1  # a sum that ends between two levels may fall to either


def train_int8(job: PassJob) -> PassResult:
    """Write the model of `job` in 8 bits."""
    epochs = count(job.settings, "epochs", default=8)
    weight_bits = count(job.settings, "weight_bits", default=7, smallest=4, largest=7)

    def folded(_model: onnx.ModelProto, _lessons: Lessons) -> onnx.ModelProto:
        return readied(prepared(job.source, "train_int8"))

    with torch_threads(job.thread_count):
        course = begin(job, folded)
        network = course.network
        quantization = plan_quantization(network, course.lessons.sample(_OBSERVED_ROWS), weight_bits)
        quantization.attach(network)
        fit = course.train(network, Schedule(epochs, learning_rate=_LEARNING_RATE, after_step=quantization.follow))
        quantization.is_following = False
        notes = (
            f"{len(quantization.products)} convolutions and products compute in 8 bits, their weights in {weight_bits}",
            f"{len(quantization.ranges)} values have ranges that were observed on {_OBSERVED_ROWS} training rows at most, and in training",
        )
        model = quantized_model(network, quantization)
        return course.finish(network, model, [fit], notes, tolerance=_TOLERANCE)
