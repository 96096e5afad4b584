from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.engines.layer_graph_file import GRAPH_FILE, WEIGHTS_FILE, read_layer_graph, write_layer_graph
from fairlead.errors import CorruptError

X = ValueRef(GRAPH_INPUT)
GRAPH = LayerGraph(
    "net",
    {"d": Layer("d", "Dense", {"units": 2}, {"kernel": "d/kernel"}), "r": Layer("r", "ReLU")},
    (Call("d", (X,)), Call("r", (ValueRef(0),))),
    (TensorSpec("x", DType.FP32, (None, 3)),),
    (("y", ValueRef(1)),),
    "keras 3.15.1",
)
WEIGHTS = {"d/kernel": np.arange(6, dtype="f4").reshape(3, 2)}


def test_what_is_written_is_read(tmp_path):
    write_layer_graph(tmp_path / "graph", GRAPH, WEIGHTS)
    graph, weights = read_layer_graph(tmp_path / "graph")
    assert graph == GRAPH
    assert np.array_equal(weights["d/kernel"], WEIGHTS["d/kernel"])


def test_equal_graphs_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_layer_graph(tmp_path / name, GRAPH, WEIGHTS)
    for file in (GRAPH_FILE, WEIGHTS_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(["f2", "f4", "f8", "i4", "u1", "?", "U3", ">f4"]), st.sampled_from("CF"))
def test_arrays_of_every_shape_type_and_order_come_back(tmp_path_factory, shape, dtype, order):
    array = np.ones(shape).astype(dtype).copy(order=order)
    folder = tmp_path_factory.mktemp("graph")
    write_layer_graph(folder, GRAPH, {"d/kernel": array})
    (found,) = read_layer_graph(folder)[1].values()
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(GRAPH, calls=(Call("d", (ValueRef(1),)), Call("r", (ValueRef(0),)))), "come before"),
        (replace(GRAPH, calls=(Call("e", (X,)),)), "does not exist"),
        (replace(GRAPH, calls=(Call("d", (X,), output_count=0), Call("r", (ValueRef(0),)))), "nothing"),
        (replace(GRAPH, outputs=(("y", ValueRef(0, 1)),)), "does not exist"),
        (replace(GRAPH, outputs=()), "no output"),
        (replace(GRAPH, inputs=(*GRAPH.inputs, *GRAPH.inputs)), "one name"),
        (replace(GRAPH, layers={"d": Layer("other", "Dense")}), "is listed as"),
        (replace(GRAPH, layers=dict(GRAPH.layers) | {"r": Layer("r", "ReLU", {"max_value": float("inf")})}), "not finite"),
        (replace(GRAPH, layers=dict(GRAPH.layers) | {"r": Layer("r", "PReLU", {}, {"alpha": "r/alpha"})}), "'r/alpha' is missing"),
    ],
)
def test_a_graph_that_is_not_sound_is_neither_written_nor_read(tmp_path, changed, said):
    with pytest.raises(CorruptError, match=said):
        write_layer_graph(tmp_path, changed, WEIGHTS)
    assert list(tmp_path.glob("*.npz")) == []


def npy(array, **changes):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=changes.pop("allow_pickle", False))
    return stream.getvalue()


@pytest.mark.parametrize(
    "member",
    [
        npy(np.array([{}], dtype=object), allow_pickle=True),
        npy(np.zeros((3, 2), "f4"))[:-4],
        npy(np.zeros((3, 2), "f4")).replace(b"(3, 2)", b"(9, 9)"),
        b"nonsense",
        b"",
    ],
    ids=["objects", "short", "lies about its shape", "nonsense", "empty"],
)
def test_arrays_that_are_not_plain_are_refused(tmp_path, member):
    write_layer_graph(tmp_path, GRAPH, WEIGHTS)
    with zipfile.ZipFile(tmp_path / WEIGHTS_FILE, "w") as archive:
        archive.writestr("d/kernel.npy", member)
    with pytest.raises(CorruptError):
        read_layer_graph(tmp_path)


def test_a_compressed_member_could_be_a_bomb_and_is_refused(tmp_path):
    write_layer_graph(tmp_path, GRAPH, WEIGHTS)
    with zipfile.ZipFile(tmp_path / WEIGHTS_FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/kernel.npy", npy(np.zeros((1000, 1000), "f4")))
    with pytest.raises(CorruptError, match="compressed"):
        read_layer_graph(tmp_path)


@pytest.mark.parametrize("file", [GRAPH_FILE, WEIGHTS_FILE])
def test_missing_and_truncated_files_are_refused(tmp_path, file):
    write_layer_graph(tmp_path, GRAPH, WEIGHTS)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptError):
        read_layer_graph(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(CorruptError):
        read_layer_graph(tmp_path)
