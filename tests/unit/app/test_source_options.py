"""What the user says beside a file: read as it is written, refused with an example, completed from the data where nothing is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead.app.source_options import complete_options, parse_input, parse_options
from fairlead.core.artifact import SourceOptions
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.errors import SpecError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x=float32[batch,1,28,28]", TensorSpec("x", DType.FP32, (None, 1, 28, 28))),
        ("ids = int64[ n , length ]", TensorSpec("ids", DType.INT64, (None, None))),
        ("text=string[8]", TensorSpec("text", DType.BYTES, (None,))),
        ("x=FP64[?,3]", TensorSpec("x", DType.FP64, (None, 3))),
    ],
)
def test_an_input_is_read_as_it_is_written_and_its_batch_is_free(text: str, spec: TensorSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text", ["x", "x=float32", "x=float32[]", "x=float32[batch,,3]", "x=float32[batch,0]", "x=thing[batch]", "=float32[2]"]
)
def test_an_input_that_cannot_be_read_is_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_input(text)
    assert caught.value.hint


def test_a_class_its_arguments_and_where_to_look_for_it(tmp_path: Path) -> None:
    options = parse_options("net.small:Net", ["hidden=16", "bias=true", "kind=relu"], [], [tmp_path])
    assert options.model_class == "net.small:Net"
    assert options.model_arguments == {"hidden": 16, "bias": True, "kind": "relu"}
    assert options.import_paths == (tmp_path,)
    assert parse_options("net:Net", [], [], []).import_paths == (Path.cwd(),)
    assert parse_options(None, [], [], []) == SourceOptions()


@pytest.mark.parametrize("name", ["net", "net.Net", "net:Net()", "../net:Net", "net:", ":Net"])
def test_what_names_no_class_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="does not name a class"):
        parse_options(name, [], [], [])


@pytest.mark.parametrize("argument", ["hidden", "1x=2", "sizes=[1,2]"])
def test_arguments_that_are_no_plain_values_are_refused(argument: str) -> None:
    with pytest.raises(SpecError):
        parse_options("net:Net", [argument], [], [])


def test_the_datas_arrays_stand_in_for_inputs_that_nobody_named(tmp_path: Path) -> None:
    data = tmp_path / "rows.npz"
    np.savez(data, x_test=np.zeros((5, 3)), y_test=np.zeros(5, dtype=np.int64), x_train=np.zeros((9, 3)))
    completed = complete_options(SourceOptions(), Path("net.pt"), data, None)
    assert completed.inputs == (TensorSpec("x", DType.FP32, (None, 3)),)
    said = SourceOptions(inputs=(TensorSpec("image", DType.UINT8, (None, 3)),))
    assert complete_options(said, Path("net.pt"), data, None) is said
    assert complete_options(SourceOptions(), Path("net.onnx"), data, None).inputs == ()


def test_several_arrays_are_several_inputs(tmp_path: Path) -> None:
    data = tmp_path / "rows.npz"
    np.savez(data, user=np.zeros((5, 3), dtype=np.float32), item=np.zeros((5, 2), dtype=np.int64), y=np.zeros(5))
    inputs = complete_options(SourceOptions(), Path("net.pth"), data, None).inputs
    assert inputs == (TensorSpec("user", DType.FP32, (None, 3)), TensorSpec("item", DType.INT64, (None, 2)))
