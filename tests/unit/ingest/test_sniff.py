from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.artifact import SourceFormat
from fairlead.errors import FairleadError, SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.sniff import sniff


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return stream.getvalue()


def hdf5():
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["x"] = np.zeros(2)
    return stream.getvalue()


PICKLED = pickle.dumps({"a": 1})
CONTENTS = {
    ".h5": (hdf5(), SourceFormat.KERAS_H5),
    ".keras": (zipped("config.json", "metadata.json", "model.weights.h5"), SourceFormat.KERAS_ZIP),
    ".skops": (zipped("schema.json", "0.npy"), SourceFormat.SKLEARN_SKOPS),
    ".pkl": (PICKLED, SourceFormat.SKLEARN_PICKLE),
    ".joblib": (zlib.compress(PICKLED), SourceFormat.SKLEARN_JOBLIB),
    ".onnx": (b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\x00", SourceFormat.ONNX),
    ".pt2": (zipped("m/archive_format", "m/models/model.json"), SourceFormat.TORCH_EXPORTED),
    ".pt": (zipped("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), SourceFormat.TORCH_SCRIPT),
    ".pth": (zipped("archive/data.pkl", "archive/version"), SourceFormat.TORCH_STATE),
    ".safetensors": ((2).to_bytes(8, "little") + b"{}", SourceFormat.SAFETENSORS),
    ".tflite": (b"\x1c\x00\x00\x00TFL3" + b"\x00" * 20, SourceFormat.TFLITE),
    ".json": (b'{"learner": {}, "version": [3, 2, 0]}', SourceFormat.XGBOOST_JSON),
    ".ubj": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{}}", SourceFormat.XGBOOST_UBJ),
    ".txt": (b"tree\nversion=v4\n", SourceFormat.LIGHTGBM_TEXT),
    ".cbm": (b"CBM1\x00\x00\x00\x00", SourceFormat.CATBOOST_CBM),
}
SAME_LOADER = {(".pkl", ".joblib"), (".joblib", ".pkl"), (".pt", ".pth"), (".pth", ".pt")}


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("content", CONTENTS)
def test_content_and_name_have_to_agree_over_the_whole_matrix(tmp_path, suffix, content):
    data, kind = CONTENTS[content]
    path = tmp_path / "file"
    path.write_bytes(data)
    if suffix == content or (suffix, content) in SAME_LOADER:
        assert sniff(path, f"Model{suffix.upper()}") is kind
        return
    with pytest.raises(SourceError, match=rf"called \{suffix}, but its content is") as caught:
        sniff(path, f"model{suffix}")
    assert caught.value.hint


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress, lambda data: b"\x04\x22\x4d\x18" + data])
@pytest.mark.parametrize("name", ["m.joblib", "m.pkl", "m.joblib.gz", "m.pkl.xz", "m.pickle.bz2"])
def test_compressed_joblib_files_are_known_under_their_usual_names(tmp_path, pack, name):
    path = tmp_path / "file"
    path.write_bytes(pack(PICKLED))
    assert sniff(path, name) is SourceFormat.SKLEARN_JOBLIB


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_known(tmp_path, protocol):
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps([1, "x"], protocol=protocol))
    assert sniff(path, "m.pkl") is SourceFormat.SKLEARN_PICKLE


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c...", "7z"),
        (b"\x00" * 257 + b"ustar" + b"\x00" * 100, "tar"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch"),
        (b"\x08\x01\x12\x10saved", "SavedModel"),
        (b"weights: none\n", "text"),
        (b'{"weights": {}}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(range(128, 256)), "damaged"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, data, said):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=said):
        sniff(path, "model.h5")
    with pytest.raises(UnsupportedError, match=said):
        sniff(path, "model.thing")


@given(st.binary(min_size=1, max_size=200), st.sampled_from([*CONTENTS, ".bst", ".xgb", ".thing", ""]))
def test_any_bytes_under_any_name_end_in_a_format_or_in_one_clear_error(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("sniff") / "file"
    path.write_bytes(data)
    ends = {SourceFormat, SourceError, UnsupportedError, UnsafeContentError}
    assert type(end_of(path, f"m{suffix}")) in ends


def end_of(path, name):
    try:
        return sniff(path, name)
    except FairleadError as error:
        return error
