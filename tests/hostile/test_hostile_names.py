"""Every content under every name (F05, F10): only the name that belongs to the content opens a file; no other loader is ever tried."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from onnx_corpus import model

from fairlead.errors import InputError
from fairlead.ingest.sniff import sniff

NAMES = ("model.h5", "model.keras", "model.pkl", "model.joblib", "model.skops", "model.onnx", "model.pt", "model.bin", "model")


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("config.json"), io.BytesIO())
    return buffer.getvalue()


# content: the names under which it may be opened
CONTENTS = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(500), {"model.h5"}),
    "keras": (zipped(config__json="{}", metadata__json="{}"), {"model.keras"}),
    "pickle": (pickle.dumps({"a": 1}), {"model.pkl", "model.joblib"}),
    "joblib": (gzip.compress(pickle.dumps({"a": 1})), {"model.pkl", "model.joblib"}),
    "skops": (zipped(schema__json=json.dumps({})), {"model.skops"}),
    "onnx": (model().SerializeToString(), {"model.onnx"}),
    "torch": (zipped(**{"archive/data__pkl": pickle.dumps({})}), {"model.pt", "model.pth"}),
    "arrays": (npz(), set()),
    "tar": (tar(), set()),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), set()),
    "text": (b"this is a text file\n", set()),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_only_the_name_that_belongs_to_the_content_opens_it(content, name, tmp_path):
    data, rightful = CONTENTS[content]
    path = tmp_path / name
    path.write_bytes(data)
    if name in rightful:
        assert sniff(path, name)
        return
    with pytest.raises(InputError) as caught:
        sniff(path, name)
    assert caught.value.hint
