"""MLmodel files: which flavor is read, which paths and YAML are refused, and how a signature and a model come together."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import InputError, SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.mlflow_folder import choose, code_paths
from fairlead.ingest.mlflow_signature import apply_signature, parse_signature
from fairlead.ingest.mlflow_yaml import parse_yaml

OUT = (TensorSpec("y", DType.FP32, (None, 2)),)


def interface(*inputs):
    return Interface(inputs, OUT)


def columns(*items):
    listed = [{"name": name, "type": kind, "required": required} for name, kind, required in items]
    return parse_signature({"inputs": json.dumps(listed), "outputs": None, "params": None})


def tensors(*items):
    listed = [{"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}} for name, dtype, shape in items]
    return parse_signature({"inputs": json.dumps(listed)})


@pytest.mark.parametrize(
    ("flavors", "files", "path", "is_folder"),
    [
        ({"onnx": {"data": "model.onnx"}, "sklearn": {"pickled_model": "model.pkl"}}, {"model.onnx", "model.pkl"}, "model.onnx", False),
        ({"tensorflow": {"data": "data"}}, {"data/model/saved_model.pb", "data/model/variables/x"}, "data/model", True),
        ({"tensorflow": {"saved_model_dir": "tf2model"}}, {"tf2model/saved_model.pb"}, "tf2model", True),
        ({"keras": {"data": "data"}}, {"data/model.keras"}, "data/model.keras", False),
        ({"pytorch": {"model_data": "data"}}, {"data/model.pth", "data/model.pt2"}, "data/model.pt2", False),
    ],
)
def test_the_flavor_and_its_file_are_chosen_in_the_stated_order(flavors, files, path, is_folder):
    choice = choose({"flavors": {**flavors, "python_function": {"loader_module": "x"}}}, files)
    assert (choice.path, choice.is_folder) == (path, is_folder)


@pytest.mark.parametrize("key", ["data", "code", "env", "artifacts"])
def test_a_path_that_leaves_the_folder_is_refused_wherever_it_stands(key):
    value = {"artifacts": {"a": {"path": "../x", "uri": "s3://fine"}}, "env": {"conda": "../x"}}.get(key, "../x")
    with pytest.raises(UnsafeContentError, match="leaves the folder"):
        choose({"flavors": {"onnx": {"data": "model.onnx"}, "python_function": {key: value}}}, {"model.onnx"})


def test_a_model_of_python_code_alone_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="python_function"):
        choose({"flavors": {"python_function": {"loader_module": "mlflow.pyfunc.model"}}}, set())
    with pytest.raises(UnsupportedError, match="prophet"):
        choose({"flavors": {"prophet": {"data": "x"}}}, set())


def test_code_that_the_folder_brings_is_named():
    described = {"flavors": {"onnx": {"data": "model.onnx", "code": "code"}}}
    assert code_paths(described, {"model.onnx", "code/a.py"}) == ("code", "code/a.py")


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: 1\na: 2", "? [1]\n: 2", "a: " + "[" * 3000])
def test_what_no_mlmodel_is_is_refused(text):
    with pytest.raises(SourceError):
        parse_yaml(text.encode())


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!python/name:os.system", "!own", "!!binary"])
def test_yaml_tags_are_refused(tag):
    with pytest.raises(UnsafeContentError, match="tag"):
        parse_yaml(f"a: {tag} x".encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_mapping_or_a_typed_error(data):
    with contextlib.suppress(InputError):
        assert isinstance(parse_yaml(data), dict)


def test_dates_stay_text_and_small_aliases_are_read():
    assert parse_yaml(b"<<: {a: 1}") == {"<<": {"a": 1}}
    assert parse_yaml(b"a: 2026-01-01\nb: &x [1]\nc: *x") == {"a": "2026-01-01", "b": [1], "c": [1]}


def test_columns_get_the_signatures_names_where_the_model_has_none():
    found, said = apply_signature(interface(TensorSpec("x", DType.FP32, (None, 2))), columns(("a", "double", True), ("b", "long", False)))
    assert found.inputs[0].columns == ("a", "b")
    assert "optional: b" in " ".join(said)


def test_numbered_names_are_no_names():
    spec = TensorSpec("x", DType.FP64, (None, 2), ("Column_0", "Column_1"))
    assert apply_signature(interface(spec), columns(("a", "double", True), ("b", "double", True)))[0].inputs[0].columns == ("a", "b")


@pytest.mark.parametrize("names", [("a",), ("a", "c"), ("a", "b", "c")])
def test_columns_that_cannot_be_the_models_are_refused(names):
    spec = TensorSpec("x", DType.FP64, (None, 2), ("a", "b"))
    with pytest.raises(SourceError, match="same columns"):
        apply_signature(interface(spec), columns(*((name, "double", True) for name in names)))


def test_a_wrong_number_of_columns_is_refused():
    with pytest.raises(SourceError, match="has 1 columns, the model takes 2"):
        apply_signature(interface(TensorSpec("x", DType.FP64, (None, 2))), columns(("a", "double", True)))


def test_tensors_that_disagree_are_refused_or_said():
    spec = TensorSpec("x", DType.FP32, (None, 28, None))
    with pytest.raises(SourceError, match="the model takes"):
        apply_signature(interface(spec), tensors(("x", "float32", [-1, 27, 5])))
    _, said = apply_signature(interface(spec), tensors(("x", "float64", [-1, 28, 5])))
    assert any("float64" in note for note in said)
    assert any("other sizes" in note for note in said)


@pytest.mark.parametrize(
    "entry", ["x", {"inputs": 3}, {"inputs": "{"}, {"inputs": '[{"type":"tensor"}]'}, {"inputs": '[{"name":1,"type":"long"}]'}]
)
def test_a_signature_that_mlflow_would_not_write_is_refused(entry):
    with pytest.raises(SourceError):
        parse_signature(entry)
