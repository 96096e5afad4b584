from __future__ import annotations

import numpy as np
import onnx
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.engines.export_proof import BATCHES, answer_drawn, prove_export
from fairlead.errors import UnsupportedError

IMAGES = (TensorSpec("x", DType.FP32, (None, None, None, 3)),)
ROWS = (TensorSpec("x", DType.FP32, (None, 3)),)


def exported(operator, shape):
    """One operator, from x to y."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node(operator, ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


class Original:
    """Negates images that are large enough, and whose sides divide; keeps the shapes that it took."""

    def __init__(self, least=1, divisor=1):
        self.least, self.divisor, self.taken = least, divisor, []

    def __call__(self, rows):
        x = rows["x"]
        if any(side < self.least or side % self.divisor for side in x.shape[1:3]):
            raise RuntimeError(f"computed output size would be negative for {x.shape}\nmore")
        self.taken.append(x.shape)
        return [-x]


FREE = ["batch", "height", "width", 3]


def test_an_original_that_takes_small_sizes_is_asked_at_two_lengths_with_sides_of_their_own():
    original = Original()
    prove_export(exported("Neg", FREE), IMAGES, original)
    assert original.taken == [(batch, side + 1, side + 2, 3) for side in (6, 13) for batch in BATCHES]


def test_an_original_that_needs_more_pixels_is_asked_with_more():
    original = Original(least=30)
    prove_export(exported("Neg", FREE), IMAGES, original)
    assert {shape[1:3] for shape in original.taken} == {(33, 34), (65, 66)}


def test_an_original_whose_sides_have_to_divide_is_asked_with_equal_ones():
    original = Original(least=14, divisor=32)
    prove_export(exported("Neg", FREE), IMAGES, original)
    assert {shape[1:3] for shape in original.taken} == {(32, 32), (64, 64)}


def test_an_export_that_answers_otherwise_is_found_at_the_larger_sizes_too():
    with pytest.raises(UnsupportedError, match="answers otherwise"):
        prove_export(exported("Abs", FREE), IMAGES, Original(least=30))


def test_an_export_that_keeps_one_size_is_found():
    with pytest.raises(UnsupportedError, match="does not run with a batch of 3"):
        prove_export(exported("Neg", ["batch", 33, 34, 3]), IMAGES, Original(least=30))


def test_an_original_that_takes_nothing_is_said_to_and_why():
    with pytest.raises(UnsupportedError, match="takes no drawn rows: computed output size would be negative"):
        answer_drawn(IMAGES, Original(least=1000))


def test_where_no_size_is_free_one_length_is_asked_and_nothing_else_is_tried():
    asked = []

    def refuses(rows):
        asked.append(rows["x"].shape)
        raise ValueError("no")

    with pytest.raises(UnsupportedError, match="takes no drawn rows: no"):
        prove_export(exported("Neg", ["batch", 3]), ROWS, refuses)
    assert asked == [(BATCHES[0], 3)]


def test_given_rows_are_asked_in_place_of_drawn_ones():
    given = [{"x": np.ones((2, 4, 5, 3), "f4")}]
    original = Original()
    prove_export(exported("Neg", FREE), IMAGES, original, rows=given)
    assert original.taken == [(2, 4, 5, 3)]
