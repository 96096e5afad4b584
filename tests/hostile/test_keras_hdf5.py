"""K11, K13-K16: containers that are bombs, reach outside, are damaged, or are not ours to open."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import h5py
import keras_corpus as corpus
import numpy as np
import pytest

from fairlead.core.ports import SandboxJob
from fairlead.errors import FairleadError, InputError, SandboxError, SourceError, UnsafeContentError
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

SECRET = np.frombuffer(b"planted secret!!", dtype=np.uint8)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "outside.h5"
    with h5py.File(path, "w") as file:
        file["secret"] = SECRET
    return path


def reaching(path: Path, secret: Path, how: str) -> Path:
    corpus.write_h5(path, corpus.sequential(corpus.dense()))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d/d"]
        del group["bias"]
        if how == "external link":
            group["bias"] = h5py.ExternalLink(str(secret), "/secret")
        elif how == "soft link":
            group["bias"] = h5py.SoftLink("/model_weights/d/d/kernel")
        elif how == "external storage":
            group.create_dataset("bias", (2,), "f4", external=[(str(secret), 0, 8)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((2,), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "secret", (2,), "f4")
            group.create_virtual_dataset("bias", layout)
        elif how == "hard link":
            group["bias"] = group["kernel"]
        elif how == "reference":
            group["bias"] = np.array([group["kernel"].ref, file.ref], dtype=h5py.ref_dtype)
    return path


WAYS = ("external link", "soft link", "external storage", "virtual", "hard link")


@pytest.mark.parametrize("how", WAYS)
def test_k14_hdf5_that_takes_data_from_elsewhere_is_refused(tmp_path, sandbox, secret, how):
    path = reaching(tmp_path / "m.h5", secret, how)
    with pytest.raises(UnsafeContentError) as caught:
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("how", ["external link", "external storage"])
def test_k14_control_raw_h5py_hands_the_secret_out(tmp_path, secret, how):
    path = reaching(tmp_path / "m.h5", secret, how)
    with h5py.File(path) as file:
        data = file["model_weights/d/d/bias"][()]
    assert bytes(data.tobytes()) in secret.read_bytes()


def test_k14_references_are_no_weights(tmp_path, sandbox, secret):
    with pytest.raises(InputError):
        ingest(reaching(tmp_path / "m.h5", secret, "reference"), tmp_path / "work", sandbox=sandbox)


def mutations(folder: Path, count: int) -> list[str]:
    data = corpus.write_h5(folder / "good.h5", corpus.sequential(corpus.dense())).read_bytes()
    paths = []
    for seed in range(count):
        path = folder / f"m{seed}.h5"
        path.write_bytes(corpus.mutate(data, seed))
        paths.append(str(path))
    return paths


def ends(paths: list[str], folder: Path, scratch: Path) -> dict[str, str]:
    """How each file ends. A worker that dies takes one import with it: its files are read again, half and half, to find which."""
    sandbox = OneShotSandbox(import_paths=(Path(__file__).parent,))
    job = SandboxJob("keras_corpus:read_many", scratch, {"paths": paths}, (folder,))
    try:
        return sandbox.run(job)["ends"]
    except SandboxError as error:
        if len(paths) == 1:
            return {paths[0]: error.code}
        middle = len(paths) // 2
        return ends(paths[:middle], folder, scratch) | ends(paths[middle:], folder, scratch)


def check_mutations(tmp_path, count):
    (tmp_path / "files").mkdir()
    found = ends(mutations(tmp_path / "files", count), tmp_path / "files", tmp_path / "scratch")
    assert len(found) == count
    assert set(found.values()) <= {"bad_source", "unsafe_content", "unsupported", "sandbox", "read"}
    refused = [end for end in found.values() if end != "read"]
    assert len(refused) > count / 4, "the mutations did not reach anything that matters"


def test_k14_sixty_mutated_files_are_refused_or_read_and_nothing_else_happens(tmp_path):
    check_mutations(tmp_path, 60)


@pytest.mark.slow
def test_k14_five_hundred_mutated_files_are_refused_or_read_and_nothing_else_happens(tmp_path):
    check_mutations(tmp_path, 500)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_truncated_file_is_refused(tmp_path, sandbox, part, suffix):
    write = corpus.write_h5 if suffix == ".h5" else corpus.write_keras
    path = write(tmp_path / f"m{suffix}", corpus.sequential(corpus.dense()))
    data = path.read_bytes()
    path.write_bytes(data[: max(int(len(data) * part), 1)])
    with pytest.raises(SourceError) as caught:
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert caught.value.hint


def bomb_of(kind: str, path: Path) -> Path:
    good = corpus.sequential(corpus.dense())
    if kind == "flat":
        return corpus.write_keras(path, b'{"a": "' + b" " * 300_000_000 + b'"}')
    if kind == "many members":
        return corpus.write_keras(path, good, members={f"m{number}": b"" for number in range(65_535 - 3)})
    if kind == "arrays":
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file.create_dataset("layers/dense/vars/0", (200_000, 1000), "f4", chunks=(1000, 1000), compression="gzip")
        corpus.write_keras(path, good)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("second.h5", stream.getvalue())
        return path
    if kind == "duplicate":
        corpus.write_keras(path, good)
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("config.json", b"{}")
        return path
    corpus.write_keras(path, good)
    return _overlap(path)


def _overlap(path: Path) -> Path:
    """Point every entry of the index at the same bytes."""
    data = bytearray(path.read_bytes())
    first = place = data.index(b"PK\x01\x02")
    offset = struct.unpack_from("<I", data, first + 42)[0]
    while data[place : place + 4] == b"PK\x01\x02":
        struct.pack_into("<I", data, place + 42, offset)
        name, extra, comment = struct.unpack_from("<HHH", data, place + 28)
        place += 46 + name + extra + comment
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("kind", ["flat", "many members", "arrays", "duplicate", "overlap"])
def test_k11_zip_bombs_and_doubled_members_are_refused(tmp_path, sandbox, kind):
    path = bomb_of(kind, tmp_path / "m.keras")
    with pytest.raises((UnsafeContentError, SourceError)):
        ingest(path, tmp_path / "work", sandbox=sandbox)


def test_k11_control_the_raw_library_unpacks_the_bomb(tmp_path):
    path = bomb_of("flat", tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
        size = sum(len(piece) for piece in iter(lambda: member.read(1 << 20), b""))
    assert size > 100 * path.stat().st_size


def test_k11_arrays_that_grow_beyond_the_file_are_refused(tmp_path, sandbox):
    path = corpus.write_h5(tmp_path / "m.h5", corpus.sequential(corpus.dense()))
    with h5py.File(path, "r+") as file:
        file.create_dataset("model_weights/d/big", (100_000, 1000), "f4", chunks=(1000, 1000), compression="gzip")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UnsafeContentError, match="times its size"):
        ingest(path, tmp_path / "work", sandbox=sandbox)


def test_k13_k15_k16_tar_files_and_saved_models_are_not_opened(tmp_path, sandbox):
    tar = tmp_path / "m.keras"
    with tarfile.open(tar, "w") as archive:
        member = tarfile.TarInfo("../escaped")
        archive.addfile(member, io.BytesIO())
    saved = tmp_path / "saved_model.pb"
    saved.write_bytes(b"\x08\x01\x12\x04evil")
    folder = tmp_path / "saved"
    folder.mkdir()
    for number, path in enumerate((tar, saved, folder)):
        with pytest.raises(FairleadError) as caught:
            ingest(path, tmp_path / f"work{number}", sandbox=sandbox)
        assert isinstance(caught.value, InputError)
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path.parent / "escaped").exists()
