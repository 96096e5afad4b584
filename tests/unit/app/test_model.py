"""A registered version, opened: with its uncompressed original beside it where it has one."""

import time

import numpy as np
import pytest
from registered import add_version, draw, scaler, verdict_of

from fairlead.app.model import open_version
from fairlead.app.wiring import build_house
from fairlead.core.conversion import TWIN_FILE
from fairlead.register.stage import Registration, register


@pytest.fixture
def house(tmp_path):
    return build_house(tmp_path / "home")


def test_a_version_without_an_original_has_none_to_open(house, tmp_path) -> None:
    loaded = open_version(add_version(house, "m", scaler(tmp_path / "m.onnx")), house)
    assert (loaded.open_twin, loaded.twin_bytes) == (None, 0)
    loaded.engine.close()
    loaded.release()


def test_the_original_of_a_version_is_opened_when_it_is_asked_for_and_answers_as_itself(house, tmp_path) -> None:
    path, interface = scaler(tmp_path / "m.onnx")
    add_version(house, "m", (path, interface))
    (folder,) = tmp_path.glob("evidence-m-*")
    original = scaler(folder / TWIN_FILE, factor=0.75)[0]
    files = {entry.name: entry for entry in folder.iterdir()}
    verdict = verdict_of(path, "onnxruntime")
    version = register(Registration("m", files, verdict), records=house.records, blobs=house.blobs, clock=time.time)
    loaded = open_version(version, house)
    assert loaded.twin_bytes == original.stat().st_size
    rows = draw(interface, 5)
    twin = loaded.open_twin()
    np.testing.assert_allclose(loaded.engine.run(rows)["y"], (rows["x"] - 1) * 0.5, rtol=1e-6)
    np.testing.assert_allclose(twin.run(rows)["y"], (rows["x"] - 1) * 0.75, rtol=1e-6)
    for engine in (twin, loaded.engine):
        engine.close()
    loaded.release()
