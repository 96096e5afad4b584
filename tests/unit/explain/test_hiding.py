"""What can be hidden of a row: columns, patches, positions, words; and what stands there instead."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import UnsupportedError
from fairlead.explain.hiding import hiding_of, layout_of, text_of


def interface(*inputs: TensorSpec) -> Interface:
    return Interface(inputs, (TensorSpec("y", DType.FP32, (None, 1)),))


def of_shape(*shape: int, limit: int = 256) -> tuple[int, tuple[int, int] | None, Array]:
    layout = layout_of(interface(TensorSpec("x", DType.FP32, (None, *shape))), {"x": np.zeros((1, *shape))}, limit)
    return len(layout.features), layout.grid, layout.groups["x"]


def test_columns_keep_their_names_and_values() -> None:
    spec = TensorSpec("x", DType.FP32, (None, 2), ("age", "income"))
    row, background = {"x": np.array([[30, 2.5]], np.float32)}, {"x": np.array([[1, 2], [3, 4]], np.float32)}
    hiding = hiding_of(interface(spec), row, background)
    assert hiding.features == ("age", "income")
    assert hiding.given == ("30", "2.5")
    mixed = hiding.mixed(np.array([[True, False], [False, False]]), np.array([1, 0]))
    assert mixed["x"].tolist() == [[30, 4], [1, 2]]
    assert mixed["x"].dtype == np.float32


def test_several_inputs_are_hidden_one_by_one() -> None:
    specs = (TensorSpec("n", DType.FP32, (None, 1)), TensorSpec("c", DType.BYTES, (None, 1)), TensorSpec("s", DType.INT64, (None,)))
    row = {"n": np.ones((1, 1), np.float32), "c": np.array([["red"]], object), "s": np.array([7])}
    background = {"n": np.zeros((1, 1), np.float32), "c": np.array([["blue"]], object), "s": np.array([0])}
    hiding = hiding_of(interface(*specs), row, background)
    assert hiding.features == ("n", "c", "s")
    assert hiding.given == ("1", "red", "7")
    mixed = hiding.mixed(np.array([[False, True, False]]), np.array([0]))
    assert {name: tensor.tolist() for name, tensor in mixed.items()} == {"n": [[0]], "c": [["red"]], "s": [0]}


def test_an_image_has_patches_of_all_its_channels() -> None:
    for shape in ((28, 28), (28, 28, 1), (1, 28, 28), (28, 28, 3), (3, 28, 28)):
        count, grid, groups = of_shape(*shape)
        assert (count, grid) == (49, (7, 7))
        assert groups.shape == shape
    assert (np.diff(of_shape(3, 28, 28)[2], axis=0) == 0).all()
    assert (np.diff(of_shape(28, 28, 3)[2], axis=2) == 0).all()


def test_long_rows_have_their_neighbours_taken_together() -> None:
    count, _, groups = of_shape(1000)
    assert count == 256
    assert (np.diff(groups) >= 0).all()
    assert len(np.unique(groups)) == 256
    layout = layout_of(interface(TensorSpec("x", DType.FP32, (None, 5))), {"x": np.zeros((1, 5))}, 2)
    assert layout.features == ("x[0] to x[2]", "x[3] to x[4]")


def test_positions_of_a_sequence_are_features() -> None:
    assert of_shape(12, 3)[0] == 12


def test_words_of_a_text_are_left_out() -> None:
    row = {"t": np.array(["good  bad good"], object)}
    hiding = hiding_of(interface(TensorSpec("t", DType.BYTES, (None,))), row, row)
    assert hiding.features == ("1: good", "2: bad", "3: good")
    assert hiding.background_count == 1
    mixed = hiding.mixed(np.array([[True, False, True], [False, False, False]]), np.array([0, 0]))
    assert mixed["t"].tolist() == ["good  good", ""]
    assert mixed["t"].shape == (2,)


def test_a_long_text_has_its_words_taken_together() -> None:
    row = {"t": np.array([["word " * 500]], object)}
    hiding = hiding_of(interface(TensorSpec("t", DType.BYTES, (None, 1))), row, row)
    assert 64 < len(hiding.features) <= 256
    few = text_of(interface(TensorSpec("t", DType.BYTES, (None, 1))), row)
    assert few is not None
    assert len(few.features) <= 64
    whole = hiding.mixed(np.ones((1, len(hiding.features)), bool), np.array([0]))["t"]
    assert whole.shape == (1, 1)
    assert len(str(whole[0, 0]).split()) == 500


def test_a_text_without_words_cannot_be_explained() -> None:
    row = {"t": np.array(["  "], object)}
    with pytest.raises(UnsupportedError, match="no words"):
        hiding_of(interface(TensorSpec("t", DType.BYTES, (None,))), row, row)


def test_rows_of_another_shape_than_the_background_are_refused() -> None:
    spec = TensorSpec("x", DType.FP32, (None, None))
    with pytest.raises(UnsupportedError, match=r"\[3\] in this row and \[2\]"):
        hiding_of(interface(spec), {"x": np.zeros((1, 3))}, {"x": np.zeros((4, 2))})
