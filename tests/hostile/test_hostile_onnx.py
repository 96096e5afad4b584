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

from fairlead.core.ports import SandboxJob
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.onnx_checks import check_operators, check_tensor
from fairlead.ingest.onnx_external import check_bare, external_names
from fairlead.ingest.onnx_reader import read_in_sandbox
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

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


@pytest.mark.parametrize("rounds", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_file_that_is_swapped_for_a_link_all_the_time_never_gives_the_secret(rounds, tmp_path):
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
        for number in range(rounds):
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


FIELDS = {
    "float_data": st.lists(st.floats(width=32), max_size=9),
    "int32_data": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9),
    "int64_data": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9),
    "uint64_data": st.lists(st.integers(0, 2**64 - 1), max_size=9),
    "double_data": st.lists(st.floats(), max_size=9),
    "string_data": st.lists(st.binary(max_size=5), max_size=9),
    "raw_data": st.binary(max_size=80),
}
DIMS = st.lists(st.one_of(st.integers(0, 4), st.sampled_from([-1, 2**31, 2**32, 2**62, -(2**63)])), max_size=5)


DRAWN = (st.integers(-1, 30), DIMS, st.dictionaries(st.sampled_from(sorted(FIELDS)), st.none(), max_size=2), st.data())


def has_exactly_the_data_of_its_shape(kind, dims, chosen, data):
    tensor = TensorProto(name="t", data_type=kind, dims=dims, **{name: data.draw(FIELDS[name]) for name in chosen})
    try:
        check_tensor(tensor)
    except REFUSALS:
        return
    assert all(dim >= 0 for dim in dims)
    assert onnx.numpy_helper.to_array(tensor).shape == tuple(dims)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(*DRAWN)
def test_a_tensor_that_passes_has_exactly_the_data_of_its_shape(kind, dims, chosen, data):
    has_exactly_the_data_of_its_shape(kind, dims, chosen, data)


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
@given(*DRAWN)
def test_of_many_more_tensors_what_passes_has_exactly_the_data_of_its_shape(kind, dims, chosen, data):
    has_exactly_the_data_of_its_shape(kind, dims, chosen, data)


@pytest.mark.parametrize(("name", "proto"), bad_operators().items(), ids=lambda value: value if isinstance(value, str) else "")
def test_operators_that_need_more_than_the_runtime_are_refused(name, proto):
    with pytest.raises(UnsafeContentError):
        check_operators(proto)


def test_an_unknown_operator_is_refused_at_the_door(tmp_path, sandbox):
    with pytest.raises(UnsafeContentError, match=r"evil.Relu is not one that Fairlead runs"):
        ingest(save(bad_operators()["evil-domain"], tmp_path), tmp_path / "work", sandbox=sandbox)


def test_a_file_that_breaks_off_anywhere_is_refused(tmp_path, reading):
    whole = model().SerializeToString()
    stops = np.unique(np.linspace(1, len(whole) - 1, 64).astype(int))
    outcomes = reading({f"cut at {stop}": whole[:stop] for stop in stops})
    kept = [stop for stop in stops if outcomes[f"cut at {stop}"] == "read"]
    # Only what comes after the graph may be missing without harm: the opset list and the producer's name.
    assert all(stop > len(whole) - 16 for stop in kept)
    assert set(outcomes.values()) <= {"read", *(kind.__name__ for kind in REFUSALS)}


def test_bytes_that_are_changed_anywhere_give_a_model_or_one_clear_error(reading):
    """2,000 files: bits flipped, bytes overwritten, pieces left out, doubled or inserted; each read by the whole reader."""
    whole, random = model().SerializeToString(), np.random.default_rng(14)
    outcomes = reading({str(number): mutated(whole, random) for number in range(2000)})
    assert set(outcomes.values()) <= {"read", *(kind.__name__ for kind in REFUSALS)}
    assert sum(outcome == "read" for outcome in outcomes.values()) < 1500, "most changes went unseen: were there any?"


def mutated(whole, random):
    data = bytearray(whole)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(2, len(data)))  # the version in front decides whether it is read as ONNX at all
        size = int(random.integers(1, 9))
        match random.integers(0, 5):
            case 0:
                data[place] ^= 1 << int(random.integers(0, 8))
            case 1:
                data[place : place + size] = random.bytes(size)
            case 2:
                del data[place : place + size]
            case 3:
                data[place:place] = data[place : place + size]
            case _:
                data[place:place] = random.choice([b"\xff" * size, bytes(size), b"\x80\x80\x80\x80\x0c"])
    return bytes(data)


@pytest.fixture
def reading(tmp_path):
    """Read many contents with the format's reader in one sandboxed process; return name -> "read" or the error's class."""
    inside = OneShotSandbox(import_paths=(Path(__file__).parent,))

    def read(contents):
        (tmp_path / "files").mkdir()
        names = list(contents)
        for number, name in enumerate(names):
            (tmp_path / "files" / f"{number}.onnx").write_bytes(contents[name])
        arguments = {"folder": str(tmp_path / "files"), "count": len(names)}
        job = SandboxJob("hostile_readers:read_onnx_files", tmp_path / "scratch", arguments, (tmp_path / "files",))
        return dict(zip(names, inside.run(job)["outcomes"], strict=True))

    return read


def test_a_file_of_more_than_2_gib_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as stream:
        stream.write(b"\x08\x0a\x3a\xff\xff\xff\xff\x07")
        stream.truncate(2**31)
    with pytest.raises(UnsupportedError, match="larger than 2 GiB"):
        read_in_sandbox({"path": str(path), "scratch": str(tmp_path), "companions": []})


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
