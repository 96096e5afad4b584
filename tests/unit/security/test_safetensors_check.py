from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import FairleadError, UnsupportedError
from fairlead.security.safetensors_check import read_safetensors


def written(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def test_what_the_library_writes_is_read_as_it_is(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -2], dtype=np.int64), "none": np.zeros((0, 4))}
    library.save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "m.safetensors")
    assert set(found) == set(arrays)
    for name, (dtype, sizes, strides, offset, data) in found.items():
        assert (dtype, sizes, offset) == (str(arrays[name].dtype), arrays[name].shape, 0)
        assert np.array_equal(np.frombuffer(data, dtype=dtype).reshape(sizes), arrays[name])
        assert len(strides) == len(sizes)


def test_a_type_that_is_not_read_is_refused_by_name(tmp_path):
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    with pytest.raises(UnsupportedError, match="F8_E4M3"):
        read_safetensors(written(tmp_path / "m.safetensors", header, b"ab"))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_changed_byte_raises_anything_but_our_own_errors(tmp_path_factory, data):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "I64", "shape": [1, 1], "data_offsets": [8, 16]}}
    text = json.dumps(header).encode()
    content = bytearray(struct.pack("<Q", len(text)) + text + bytes(16))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("mutated") / "m.safetensors"
    path.write_bytes(content)
    try:
        found = read_safetensors(path)
    except FairleadError:
        return
    assert all(len(item[4]) <= 16 for item in found.values())
