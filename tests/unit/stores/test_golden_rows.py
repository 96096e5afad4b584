from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.golden import Golden
from fairlead.errors import CorruptError, DataError
from fairlead.stores.golden_rows import read_golden, read_tensors, write_golden, write_tensors

numbers = hnp.arrays(
    st.sampled_from([np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64]), hnp.array_shapes(min_dims=0, max_dims=3)
)
texts = hnp.arrays(object, hnp.array_shapes(max_dims=2), elements=st.text(max_size=5).filter(lambda text: not text.endswith("\0")))
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(tensors=st.dictionaries(names, numbers | texts, max_size=4))
def test_tensors_come_back_bit_for_bit_and_in_order(tmp_path, tensors):
    path = tmp_path / "tensors.npz"
    write_tensors(path, tensors)
    back = read_tensors(path)
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert back[name].tolist() == tensor.tolist() if tensor.dtype == object else back[name].tobytes() == tensor.tobytes()


def golden() -> Golden:
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "colour": np.array(["röd", ""], dtype=object)}
    return Golden(inputs, {"x": np.array([[0.5], [np.nan]], dtype=np.float32)}, 1e-3)


def test_golden_requests_come_back_whole(tmp_path):
    write_golden(tmp_path / "golden.npz", golden())
    back = read_golden(tmp_path / "golden.npz")
    assert (list(back.inputs), list(back.outputs), back.tolerance) == (["x", "colour"], ["x"], 1e-3)
    assert back.inputs["colour"].tolist() == ["röd", ""]
    assert back.mismatch(golden().outputs) == ""


def test_equal_golden_requests_are_equal_files_that_numpy_opens(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_golden(tmp_path / name, golden())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as opened:
        assert opened["inputs/x"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert opened["inputs/colour"].tolist() == ["röd", ""]


def test_text_that_numpy_would_shorten_is_refused(tmp_path):
    assert np.array(["a\0"]).tolist() == ["a"]  # why
    with pytest.raises(DataError, match="zero character"):
        write_tensors(tmp_path / "t.npz", {"colour": np.array(["a\0"], dtype=object)})


@pytest.mark.parametrize("value", [None, b"bytes", 1.5])
def test_a_value_that_is_not_text_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="not text"):
        write_tensors(tmp_path / "t.npz", {"colour": np.array(["a", value], dtype=object)})


def test_a_name_that_a_zip_cannot_hold_is_refused(tmp_path):
    with pytest.raises(DataError, match="Rename"):
        write_tensors(tmp_path / "t.npz", {"a\0b": np.zeros(1)})


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"inputs/x": np.array([{"a": 1}], dtype=object), "tolerance": np.float64(1.0)})
    return buffer.getvalue()


def test_a_file_with_a_pickle_in_it_is_refused_without_opening_it(tmp_path):
    path = tmp_path / "golden.npz"
    path.write_bytes(pickled())
    with np.load(path, allow_pickle=True) as opened:
        assert opened["inputs/x"][0] == {"a": 1}  # the pickle is real
    with pytest.raises(CorruptError, match="does not hold tensors"):
        read_golden(path)


@pytest.mark.parametrize("cut", [0, 10, 100, -30, -1])
def test_a_cut_file_is_refused(tmp_path, cut):
    path = tmp_path / "golden.npz"
    write_golden(path, golden())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorruptError):
        read_golden(path)


@pytest.mark.parametrize(
    "tensors", [{}, {"inputs/x": np.zeros(1)}, {"tolerance": np.zeros(2)}, {"tolerance": np.zeros(()), "x": np.zeros(1)}]
)
def test_tensors_that_are_not_golden_requests_are_refused(tmp_path, tensors):
    write_tensors(tmp_path / "t.npz", tensors)
    with pytest.raises(CorruptError, match="golden"):
        read_golden(tmp_path / "t.npz")


def test_a_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x.npy", b"hello")
    with pytest.raises(CorruptError):
        read_tensors(tmp_path / "t.npz")
