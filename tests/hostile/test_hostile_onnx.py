"""Bad ONNX files through the ingest door (O01, O02, O07, O09, O14): refused with one clear error; no byte from outside comes in."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_corpus import (
    LOCATIONS,
    SECRET,
    bad_operators,
    bad_tensors,
    build_external,
    external,
    fifo,
    folder_instead,
    hard_link,
    linked,
    model,
    save,
    symlink,
)

from fairlead.errors import FairleadError, SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.onnx_checks import check_operators, check_tensor
from fairlead.ingest.onnx_external import check_bare, external_names
from fairlead.ingest.stage import ingest

REFUSALS = (SourceError, UnsafeContentError, UnsupportedError)


def secrets_in(folder):
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]


@pytest.mark.parametrize("location", LOCATIONS, ids=repr)
def test_only_a_bare_file_name_may_hold_external_data(location):
    with pytest.raises((UnsafeContentError, SourceError)):
        external_names(external(location))


@pytest.mark.parametrize("location", ["../secret", "./../secret", "../inner/../secret"])
def test_data_from_outside_never_comes_in(location, tmp_path, sandbox):
    path = build_external(location)(tmp_path, tmp_path)
    assert (path.parent / location).read_bytes() == SECRET, "a naive join would read it"
    with pytest.raises(UnsafeContentError, match="not a plain file name"):
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert secrets_in(tmp_path / "work") == []


@given(st.text(max_size=40))
def test_a_name_that_passes_stays_in_its_folder(name):
    try:
        check_bare(name)
    except UnsafeContentError:
        return
    assert Path(name).name == name
    assert Path("/folder", name).parent == Path("/folder")


@pytest.mark.parametrize("make", [symlink, hard_link, fifo, folder_instead], ids=lambda make: make.__name__)
def test_links_and_other_things_in_the_place_of_the_data_are_refused(make, tmp_path, sandbox):
    path = linked(make)(tmp_path, tmp_path)
    if make in (symlink, hard_link):
        assert (tmp_path / "data.bin").read_bytes() == SECRET, "a naive open would read it"
    with pytest.raises(SourceError):
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert secrets_in(tmp_path / "work") == []


def test_a_file_that_is_swapped_for_a_link_all_the_time_never_gives_the_secret(tmp_path, sandbox):
    (tmp_path / "secret").write_bytes(SECRET)
    path = save(external("data.bin"), tmp_path)
    place, spare = tmp_path / "data.bin", tmp_path / "spare"
    place.write_bytes(bytes(48))
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            spare.symlink_to(tmp_path / "secret")
            spare.replace(place)
            spare.write_bytes(bytes(48))
            spare.replace(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        from fairlead.security.snapshot import take_snapshot

        outcomes = set()
        for number in range(2000):
            try:
                take_snapshot(place, tmp_path / f"copy{number}", allow_hard_link=False)
                outcomes.add((tmp_path / f"copy{number}" / "data.bin").read_bytes() == SECRET)
            except SourceError:
                outcomes.add("refused")
    finally:
        stop.set()
        thread.join()
    assert True not in outcomes
    assert "refused" in outcomes, "the race never met a link"
    assert path.exists()


@pytest.mark.parametrize(("name", "tensor"), bad_tensors().items(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_tensor_whose_data_does_not_fit_its_shape_is_refused(name, tensor):
    with pytest.raises(REFUSALS):
        check_tensor(tensor)


def test_a_bad_tensor_is_refused_at_the_door(tmp_path, sandbox):
    path = save(model(weights=bad_tensors()["short"]), tmp_path)
    with pytest.raises(SourceError, match="does not fit its shape"):
        ingest(path, tmp_path / "work", sandbox=sandbox)


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT4, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.STRING]),
    st.lists(st.integers(-3, 2**40), max_size=4),
    st.integers(0, 64),
)
def test_what_passes_has_exactly_the_bytes_of_its_shape(kind, dims, size):
    tensor = TensorProto(name="t", data_type=kind, dims=dims, raw_data=bytes(size))
    try:
        check_tensor(tensor)
    except REFUSALS:
        return
    assert all(dim >= 0 for dim in dims)
    array = onnx.numpy_helper.to_array(tensor) if kind != TensorProto.STRING else np.zeros(dims)
    assert array.shape == tuple(dims)


@pytest.mark.parametrize(("name", "proto"), bad_operators().items(), ids=lambda value: value if isinstance(value, str) else "")
def test_operators_that_need_more_than_the_runtime_are_refused(name, proto):
    with pytest.raises(UnsafeContentError):
        check_operators(proto)


def test_an_unknown_operator_is_refused_at_the_door(tmp_path, sandbox):
    with pytest.raises(UnsafeContentError, match=r"evil.Relu is not one that Fairlead runs"):
        ingest(save(bad_operators()["evil-domain"], tmp_path), tmp_path / "work", sandbox=sandbox)


def test_a_file_that_breaks_off_anywhere_is_refused(tmp_path, sandbox):
    whole = model().SerializeToString()
    kept = []
    for number, stop in enumerate(np.linspace(1, len(whole) - 1, 16).astype(int)):
        path = tmp_path / f"m{number}.onnx"
        path.write_bytes(whole[:stop])
        try:
            ingest(path, tmp_path / f"work{number}", sandbox=sandbox)
            kept.append(stop)
        except FairleadError as error:
            assert isinstance(error, REFUSALS)  # noqa: PT017 - success is not wrong by itself: see below
    # Only what comes after the graph may be missing without harm: the opset list and the producer's name.
    assert all(stop > len(whole) - 16 for stop in kept)


def test_versions_that_do_not_exist_are_refused(tmp_path, sandbox):
    for number, (ir_version, opset) in enumerate([(99, 17), (10, 999)]):
        proto = model()
        proto.ir_version, proto.opset_import[0].version = ir_version, opset
        with pytest.raises(REFUSALS):
            ingest(save(proto, tmp_path, f"m{number}.onnx"), tmp_path / f"work{number}", sandbox=sandbox)


def test_what_travels_in_metadata_does_not_come_in(tmp_path, sandbox):
    proto = model()
    proto.metadata_props.add(key="note", value="sk_live_TEST")
    proto.doc_string = "sk_live_TEST"
    proto.graph.node[0].doc_string = "sk_live_TEST"
    artifact = ingest(save(proto, tmp_path), tmp_path / "work", sandbox=sandbox)
    assert b"sk_live_TEST" not in artifact.path.read_bytes()
    assert any("metadata" in note for note in artifact.notes)
