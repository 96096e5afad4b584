"""For every test: an empty registry of its own, and Keras on the back-end that the test environment has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(autouse=True)
def fairlead_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point FAIRLEAD_HOME at a folder of this test, so that nothing reaches the home of whoever runs it."""
    home = tmp_path / "fairlead-home"
    monkeypatch.setenv("FAIRLEAD_HOME", str(home))
    return home
