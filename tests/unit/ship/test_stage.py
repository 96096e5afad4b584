"""Shipping: what other servers read is there, loads, and answers the same; what is in the way is said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_onnx import LINEAR, WEIGHTS, linear_model

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.version import Version
from fairlead.errors import SpecError, UnsupportedError
from fairlead.ship.open_inference import configuration
from fairlead.ship.stage import ship
from fairlead.stores.document import dump


def version(number: int = 3) -> Version:
    return Version("digits", number, Manifest(()), 0.0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "interface.json").write_bytes(dump(LINEAR))
    return {"model.onnx": linear_model(tmp_path / "model.onnx"), "interface.json": tmp_path / "interface.json"}


def test_onnx_and_its_runtime_take_the_shipped_model(files: dict[str, Path], tmp_path: Path) -> None:
    written = ship(version(), files, tmp_path / "out", layout="open-inference")
    assert sorted(written) == ["digits/3/model.onnx", "digits/config.pbtxt"]
    path = tmp_path / "out/digits/3/model.onnx"
    onnx.checker.check_model(onnx.load(path))
    rows = np.ones((2, 4), np.float32)
    answer = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": rows})[0]
    assert np.allclose(answer, rows @ WEIGHTS, atol=1e-6)


def test_a_version_without_an_onnx_form_is_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    del files["model.onnx"]
    with pytest.raises(UnsupportedError, match="digits:3 has no ONNX form"):
        ship(version(), files, tmp_path / "out", layout="open-inference")
    assert not (tmp_path / "out").exists()


def test_the_configuration_is_what_triton_reads() -> None:
    text = configuration("digits", LINEAR)
    assert text == (
        'name: "digits"\nbackend: "onnxruntime"\nmax_batch_size: 0\n'
        'input [\n  { name: "x", data_type: TYPE_FP32, dims: [ -1, 4 ] }\n]\n'
        'output [\n  { name: "y", data_type: TYPE_FP32, dims: [ -1, 3 ] }\n]\n'
    )


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_has_tritons_name(dtype: DType) -> None:
    interface = Interface((TensorSpec("x", dtype, (None,)),), (TensorSpec("y", dtype, (None,)),))
    assert re.search(r"TYPE_(BOOL|U?INT(8|16|32|64)|FP(16|32|64)|STRING),", configuration("m", interface))


def test_a_name_cannot_leave_its_quotes() -> None:
    interface = Interface((TensorSpec('x" }\n]', DType.FP32, (None,)),), LINEAR.outputs)
    assert 'name: "x\\" }\\n]"' in configuration("m", interface)


def test_versions_lie_side_by_side_and_never_on_top_of_each_other(files: dict[str, Path], tmp_path: Path) -> None:
    for number in (1, 2):
        ship(version(number), files, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/digits").iterdir()) == ["1", "2", "config.pbtxt"]
    with pytest.raises(SpecError, match="holds digits:2 already"):
        ship(version(2), files, tmp_path / "out")


def test_a_model_with_another_interface_is_not_mixed_in(files: dict[str, Path], tmp_path: Path) -> None:
    ship(version(1), files, tmp_path / "out")
    files["interface.json"].write_bytes(dump(Interface(LINEAR.inputs, (TensorSpec("z", DType.FP32, (None, 3)),))))
    with pytest.raises(SpecError, match="another interface"):
        ship(version(2), files, tmp_path / "out")


def test_a_model_that_cannot_be_copied_leaves_no_version(files: dict[str, Path], tmp_path: Path) -> None:
    files["model.onnx"].unlink()
    with pytest.raises(OSError, match="No such file"):
        ship(version(), files, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/digits").iterdir()] == ["config.pbtxt"]


def test_an_unknown_layout_lists_the_known_ones(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        ship(version(), files, tmp_path / "out", layout="floppy")
    assert "open-inference" in caught.value.hint


def test_a_file_in_the_way_is_said(files: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match="is a file"):
        ship(version(), files, files["model.onnx"])
