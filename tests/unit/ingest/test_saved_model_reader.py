"""What is told of a SavedModel without TensorFlow: interface, signature, decision, facts, and what is left out by name."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from fairlead.engines.tensorflow_names import in_order, interface_names, tensor_names
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.saved_model_reader import inspect_in_sandbox, read_in_sandbox
from fairlead.security.checkpoint_index import check_variables

DATA = Path(__file__).parents[2] / "data" / "tensorflow"


@pytest.fixture
def unpacked(tmp_path):
    def unpack(kind, name):
        with zipfile.ZipFile(next(DATA.glob(f"{kind}-tensorflow-*/{name}.zip"))) as archive:
            archive.extractall(tmp_path)
        return tmp_path / name

    return unpack


def read(folder, signature=""):
    return read_in_sandbox({"path": str(folder), "options": {"signature": signature}})


def described(specs):
    return [(spec["name"], spec["dtype"], spec["shape"]) for spec in specs]


def test_a_keras_3_export_is_described_without_tensorflow(unpacked, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it fails from here on, also where another test has loaded it
    answer = read(unpacked("keras", "mlp"))
    assert described(answer["interface"]["inputs"]) == [("keras_tensor", "FP32", [None, 12])]
    assert described(answer["interface"]["outputs"]) == [("output_0", "FP32", [None, 4])]
    assert answer["interface"]["decision"]["kind"] == "argmax"
    assert answer["facts"]["parameter_count"] == 12 * 16 + 16 + 16 * 8 + 8 + 8 * 4 + 4
    assert "MatMul" in answer["facts"]["operators"]
    assert answer["notes"] == ["signature 'serving_default' is taken; the others are serve"]


def test_free_lengths_and_several_outputs_are_kept(unpacked):
    interface = read(unpacked("keras", "convolutions_1d"))["interface"]
    assert described(interface["inputs"])[0][2] == [None, None, 4]
    assert described(interface["outputs"]) == [("output_0", "FP32", [None, None, 3]), ("output_1", "FP32", [None, 5])]
    assert interface["decision"] is None


def test_numbers_in_names_count_by_their_value(unpacked):
    interface = read(unpacked("functions", "same_shapes"))["interface"]
    assert [spec["name"] for spec in interface["inputs"]] == ["a", "a2", "a10", "b"]
    assert [spec["name"] for spec in interface["outputs"]] == ["out", "out2", "out10"]


def test_one_of_several_signatures_has_to_be_named(unpacked):
    folder = unpacked("functions", "two_signatures")
    with pytest.raises(UnsupportedError, match="several signatures: double, half") as caught:
        read(folder)
    assert "--signature NAME" in caught.value.hint
    assert read(folder, "half")["facts"]["signature"] == "half"
    with pytest.raises(UnsupportedError, match="no signature 'other'"):
        read(folder, "other")
    assert inspect_in_sandbox({"path": str(folder)})["notes"] == ["The SavedModel has several signatures: double, half."]


def test_a_model_placed_on_a_gpu_is_told_so(unpacked):
    assert "placed on GPU by the export; opened on the CPU" in read(unpacked("functions", "on_gpu"))["notes"]


def test_a_model_that_changes_itself_or_reads_files_is_refused_by_name(unpacked):
    with pytest.raises(UnsupportedError, match=r"changes the model each time it is asked \(AssignAddVariableOp\)"):
        read(unpacked("functions", "counter"))
    with pytest.raises(UnsupportedError, match=r"reads files of its own: vocabulary_file\.words\.txt"):
        read(unpacked("functions", "vocabulary_file"))
    with pytest.raises(UnsafeContentError, match="operator ReadFile is not on the allow-list"):
        read(unpacked("functions", "reads_a_file"))


def test_files_that_do_not_belong_to_the_model_are_named_and_not_opened(unpacked):
    folder = unpacked("functions", "logistic")
    (folder / "README.md").write_text("hello")
    assert read(folder)["notes"] == ["not opened: README.md"]


def test_a_folder_that_lacks_variables_is_refused(unpacked):
    folder = unpacked("functions", "logistic")
    data = folder / "variables" / "variables.data-00000-of-00001"
    data.rename(folder / "elsewhere")
    with pytest.raises(SourceError, match=r"lacks variables/variables\.data-00000-of-00001"):
        read(folder)
    data.write_bytes((folder / "elsewhere").read_bytes()[:-1])
    with pytest.raises(SourceError, match="lies outside of its data file"):
        check_variables(folder / "variables")


def test_names_are_ordered_and_kept_apart():
    assert in_order(["output_10", "output_2", "b", "a1b2", "a1b10"]) == ["a1b2", "a1b10", "b", "output_2", "output_10"]
    assert interface_names(["x"], ["x", "y"]) == ({"x": "x"}, {"x": "x_1", "y": "y"})
    assert tensor_names(["serving_default_x:0", "in:0"], ["x:0", "in:0"]) == (["x", "in"], ["x_1", "in_1"])
