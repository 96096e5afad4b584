"""Tensors between processes: what is written is read, and what a child may write instead is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError

numbers = hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8, np.float16]), hnp.array_shapes(max_side=3))
texts = st.lists(st.text(max_size=5).filter(lambda text: text.isprintable() or "\0" in text), min_size=1, max_size=4).map(
    lambda words: np.array(words, dtype=object)
)
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


@SAME_FOLDER
@given(st.dictionaries(st.text(max_size=5).filter(str.isprintable), numbers | texts, max_size=3))
def test_what_is_written_is_read_in_the_same_order(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    write_tensors(tmp_path / "t.npz", tensors)
    found = read_tensors(tmp_path / "t.npz")
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tolist() == tensor.tolist() or tensor.tobytes() == found[name].tobytes()


@SAME_FOLDER
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_changes_nothing_but_values(tmp_path: Path, position: int, byte: int) -> None:
    path = tmp_path / "t.npz"
    write_tensors(path, {"x": np.arange(4), "s": np.array(["a", "b"], dtype=object)})
    data = bytearray(path.read_bytes())
    data[position % len(data)] = byte
    path.write_bytes(data)
    try:
        read_tensors(path)
    except CorruptError:
        return


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken"])
def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(CorruptError):
        read_tensors(tmp_path / "t.npz")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("canary"),))


def test_a_pickle_in_the_answer_of_a_child_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "t.npz", names=np.frombuffer(b'["x"]', dtype=np.uint8), a0=np.array([Bomb()], dtype=object))
    with pytest.raises(CorruptError):
        read_tensors(tmp_path / "t.npz")
    assert not (tmp_path / "canary").exists()
    pickle.loads(pickle.dumps(Bomb()))  # the positive control: opened as a pickle, it does run
    assert (tmp_path / "canary").exists()


def test_a_link_and_a_compressed_answer_of_a_child_are_not_followed_or_inflated(tmp_path: Path) -> None:
    write_tensors(tmp_path / "real.npz", {"x": np.zeros(3)})
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    np.savez_compressed(tmp_path / "bomb.npz", names=np.frombuffer(b'["x"]', np.uint8), a0=np.zeros(1_000_000))
    for name in ("link.npz", "bomb.npz"):
        with pytest.raises(CorruptError):
            read_tensors(tmp_path / name)
    assert list(read_tensors(tmp_path / "real.npz")) == ["x"]
