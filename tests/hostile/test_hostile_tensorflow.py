"""Bad SavedModels and .tflite files through the ingest door (K15, K16): refused with one clear error, before TensorFlow opens them."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_corpus import folder, harmless, hostile_cases

from fairlead.errors import FairleadError, InputError, SourceError
from fairlead.ingest import saved_model_reader, tflite_reader
from fairlead.ingest.inspection import inspect_source
from fairlead.ingest.stage import ingest
from fairlead.security.checkpoint_index import read_index
from fairlead.security.saved_model_check import check_graph
from fairlead.security.saved_model_file import read_saved_model
from fairlead.security.tflite_check import check_tflite
from fairlead.security.tflite_file import read_tflite

DATA = Path(__file__).parents[1] / "data" / "tensorflow"
CASES = list(hostile_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_a_bad_saved_model_is_refused_before_tensorflow_opens_it(case, tmp_path):
    path = case.build(tmp_path, tmp_path / "canary")
    with pytest.raises(InputError) as caught:
        saved_model_reader.read_in_sandbox({"path": str(path)})
    assert str(caught.value).isprintable()
    assert "tensorflow" not in sys.modules
    assert not (tmp_path / "canary").exists()


def test_the_same_folder_without_the_attack_is_read(tmp_path):
    path = folder(lambda _: harmless())(tmp_path, tmp_path / "canary")
    answer = saved_model_reader.read_in_sandbox({"path": str(path)})
    assert [spec["name"] for spec in answer["interface"]["inputs"]] == ["x"]


def test_what_is_unsafe_is_named_by_inspect_and_at_the_door(tmp_path, sandbox):
    case = CASES[1]
    path = case.build(tmp_path, tmp_path / "canary")
    inspection = inspect_source(path, sandbox=sandbox)
    assert [finding.what for finding in inspection.findings if finding.is_unsafe] == ["operator WriteFile is not on the allow-list"]
    with pytest.raises(InputError, match="WriteFile"):
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert not (tmp_path / "canary").exists()


def saved_model_bytes():
    with zipfile.ZipFile(next(DATA.glob("keras-*/mlp.zip"))) as archive:
        return archive.read("mlp/saved_model.pb"), archive.read("mlp/variables/variables.index")


MODEL, TABLE = saved_model_bytes()
LITE = (DATA / "litert" / "mlp.float.tflite").read_bytes()


def parse_model(data):
    check_graph(read_saved_model(memoryview(data)))


def parse_table(data):
    read_index(memoryview(data))


def parse_lite(data):
    model = read_tflite(memoryview(data))
    check_tflite(model)


GOOD = ((MODEL, parse_model), (TABLE, parse_table), (LITE, parse_lite))
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(GOOD))), CHANGES, st.floats(0, 1))
def test_changed_bytes_are_read_or_refused_and_nothing_else(which, changes, cut):
    good, parse = GOOD[which]
    data = bytearray(good)
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        parse(bytes(data[: max(int(cut * 2 * len(data)), 1)]))
    except FairleadError as error:
        assert str(error).isprintable()  # noqa: PT017 - to be read is not wrong by itself


@pytest.mark.parametrize(("good", "parse"), GOOD, ids=["saved_model.pb", "variables.index", "tflite"])
def test_a_file_that_breaks_off_is_refused(good, parse):
    for stop in np.linspace(1, len(good) - 1, 40).astype(int):
        with pytest.raises(InputError):
            parse(good[:stop])


def test_an_operator_of_tensorflow_itself_in_a_tflite_file_is_refused_by_name(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(with_custom_operator(LITE))
    with pytest.raises(InputError, match=r"custom operator"):
        tflite_reader.read_in_sandbox({"path": str(path)})


def with_custom_operator(data):
    """The same file, in which every operator's code is 32, CUSTOM: the field is a byte in the first slot of each OperatorCode."""
    from fairlead.security.flatbuffer import root

    changed = bytearray(data)
    for table in root(memoryview(data)).tables(1):
        for slot in (0, 3):
            place = table._place(slot, 1)
            if place is not None:
                changed[place] = 32
    return bytes(changed)


@pytest.mark.parametrize(
    "data", [b"", b"\x08\x01", b"\x12\x80", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b\x0c", b"\x00\x01"]
)
def test_bytes_that_are_no_saved_model_are_refused(data):
    with pytest.raises(InputError):
        read_saved_model(memoryview(data))


def test_a_group_or_a_number_beyond_64_bits_is_damage():
    for data in (b"\x0b", b"\x08" + b"\xff" * 9 + b"\x02"):
        with pytest.raises(SourceError):
            read_saved_model(memoryview(data))
