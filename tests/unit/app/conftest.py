"""A registry with small models, registered in milliseconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parent)
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

import registered  # noqa: E402 - found by the path above


@pytest.fixture
def house(tmp_path: Path):
    return registered.new_house(tmp_path / "home")


@pytest.fixture
def stocked(house, tmp_path: Path):
    """The house with `pets` (classifier), `scale` and `table` in production."""
    for name, make in (("pets", registered.classifier), ("scale", registered.scaler), ("table", registered.lookup)):
        registered.add_version(house, name, make(tmp_path / f"{name}.onnx"))
    return house
