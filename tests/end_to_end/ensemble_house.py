"""A registry with a scaler and a classifier, and what an ensemble of both is composed of: pipeline.yaml and its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app.wiring import House

ROWS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
PIPELINE = """
steps:
  scale: {model: scale, inputs: {x: input.x}}
  pets: {model: pets, inputs: {x: scale.y}}
outputs: {scores: pets}
data: rows.npz
"""


def house_of_members(folder: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return the registry, at which commands look, too, and change into the folder of pipeline.yaml."""
    monkeypatch.setenv("FAIRLEAD_HOME", str(folder / "home"))
    monkeypatch.setenv("FAIRLEAD_VERIFY_TIME_S", "0.05")
    monkeypatch.chdir(folder)
    house = registered.new_house(folder / "home")
    registered.add_version(house, "scale", registered.scaler(folder / "scale.onnx"))
    registered.add_version(house, "pets", registered.classifier(folder / "pets.onnx"))
    np.savez(folder / "rows.npz", x=ROWS)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return house
