"""Trees come back from their file as they were written; a file with any other byte count, header or array is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "convert" / "trees"))
from ensembles import PLAIN, build, ensembles

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.engines.tree_ensemble_file import read_tree_ensemble, write_tree_ensemble
from fairlead.errors import CorruptError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """One small ensemble on disk."""
    trees = build(
        np.random.default_rng(1),
        compare=DType.FP32,
        total=DType.FP32,
        splits=[*PLAIN, Split.CATEGORY],
        missing=list(Missing),
        feature_names=("a", "ü", "c", "d"),
    )
    write_tree_ensemble(tmp_path / "model.trees", trees)
    return tmp_path / "model.trees"


@given(ensembles())
def test_what_was_written_comes_back_and_equal_ensembles_give_equal_bytes(tmp_path_factory, trees: TreeEnsemble) -> None:
    folder = tmp_path_factory.mktemp("trees")
    write_tree_ensemble(folder / "one", trees)
    back = read_tree_ensemble(folder / "one")
    for item in fields(trees):
        expected, got = getattr(trees, item.name), getattr(back, item.name)
        np.testing.assert_array_equal(got, expected, err_msg=item.name)
        assert not isinstance(got, np.ndarray) or not got.flags.writeable
    write_tree_ensemble(folder / "two", back)
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_an_ensemble_that_breaks_its_law_is_not_written(written: Path) -> None:
    trees = read_tree_ensemble(written)
    object.__setattr__(trees, "roots", trees.roots + 10_000)
    with pytest.raises(CorruptError, match="root"):
        write_tree_ensemble(written.with_name("other"), trees)
    assert not written.with_name("other").exists()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="cannot be read"):
        read_tree_ensemble(tmp_path / "model.trees")


def test_every_truncation_and_every_longer_file_is_refused(written: Path) -> None:
    data = written.read_bytes()
    for end in [*range(0, len(data), 7), len(data) - 1]:
        written.write_bytes(data[:end])
        with pytest.raises(CorruptError):
            read_tree_ensemble(written)
    written.write_bytes(data + b"\0")
    with pytest.raises(CorruptError, match="left over"):
        read_tree_ensemble(written)


def reheaded(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with another header; the arrays are moved so that they begin where they have to."""
    size = int.from_bytes(data[8:16], "little")
    header = json.loads(data[16 : 16 + size])
    change(header)
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    return data[:8] + len(new).to_bytes(8, "little") + new + data[16 + size + (-size % 8) :]


HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an array is not named": lambda header: header["shapes"].pop("roots"),
    "an array more": lambda header: header["shapes"].update(more=[0]),
    "a length below zero": lambda header: header["shapes"].update(roots=[-1]),
    "a length beyond the end": lambda header: header["shapes"].update(roots=[2**40]),
    "a length that no integer holds": lambda header: header["shapes"].update(roots=[2**62, 2**62]),
    "an empty array of a huge side": lambda header: header["shapes"].update(leaf_values=[0, 2**62]),
    "an array of no dimension": lambda header: header["shapes"].update(splits=[]),
    "an array of two": lambda header: header["shapes"].update(features=[*header["shapes"]["features"], 1]),
    "lengths exchanged": lambda header: header["shapes"].update(leaf_values=header["shapes"]["leaf_values"][::-1]),
    "a type that no sum has": lambda header: header.update(sum_dtype="INT64"),
    "a type that is none": lambda header: header.update(compare_dtype="float"),
    "a transform that is none": lambda header: header.update(transform="exec"),
    "a count that is a text": lambda header: header.update(feature_count="4"),
    "no outputs": lambda header: header.update(output_count=0),
    "more outputs": lambda header: header.update(output_count=3),
    "fewer features": lambda header: header.update(feature_count=0),
    "features below zero": lambda header: header.update(feature_count=-1),
    "names too few": lambda header: header.update(feature_names=["a"]),
    "a key too few": lambda header: header.pop("scale"),
    "a scale that is none": lambda header: header.update(scale=None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_with_damage_is_refused(name: str, written: Path) -> None:
    written.write_bytes(reheaded(written.read_bytes(), HEADERS[name]))
    with pytest.raises(CorruptError):
        read_tree_ensemble(written)


def test_the_header_written_anew_unchanged_is_read(written: Path) -> None:
    written.write_bytes(reheaded(written.read_bytes(), lambda header: header))
    assert read_tree_ensemble(written).feature_names == ("a", "ü", "c", "d")


@pytest.mark.parametrize(
    ("start", "end", "value"), [(0, 8, b"FLTREES2"), (8, 16, b"\xff" * 8), (8, 16, bytes(8)), (16, 20, b"\xff\xfe\x00["), (16, 20, b"[[[[")]
)
def test_a_file_that_begins_otherwise_is_refused(written: Path, start: int, end: int, value: bytes) -> None:
    data = written.read_bytes()
    written.write_bytes(data[:start] + value + data[end:])
    with pytest.raises(CorruptError, match=r"begin|header"):
        read_tree_ensemble(written)


def test_a_truth_value_of_two_is_refused(written: Path) -> None:
    data = written.read_bytes()
    trees = read_tree_ensemble(written)
    place = len(data) - trees.node_count  # unknown_category_left comes last
    written.write_bytes(data[:place] + b"\2" + data[place + 1 :])
    with pytest.raises(CorruptError, match="truth value"):
        read_tree_ensemble(written)


@given(st.data())
def test_any_changed_byte_is_refused_or_what_is_read_keeps_its_law(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("trees")
    trees = build(np.random.default_rng(3), compare=DType.FP64, total=DType.FP64, splits=PLAIN, missing=list(Missing))
    write_tree_ensemble(folder / "model.trees", trees)
    content = bytearray((folder / "model.trees").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "model.trees").write_bytes(content)
    try:
        read_tree_ensemble(folder / "model.trees").check()
    except CorruptError:
        return
