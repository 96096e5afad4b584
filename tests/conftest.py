"""For every test: an empty registry of its own, Keras on the back-end that the test environment has, properties without a deadline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

sys.path.append(str(Path(__file__).parent))  # the fakes of ports: memory_records.py
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What needs seconds to build (TensorFlow for .tflite, OpenVINO) is only built where a test is about it.
ENGINES = "onnxruntime,trees,torch,python,booster"
os.environ["FAIRLEAD_ENGINES"] = ENGINES  # for what is built once per module or session, before the fixture below
# A busy machine makes no property wrong: time is bounded by the suite, not by each example.
hypothesis.settings.register_profile("fairlead", deadline=None)
hypothesis.settings.load_profile("fairlead")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, one for each process that runs tests. Whoever stops it starts it again."""
    pytest.importorskip("pg8000", reason="the extra 'postgres' is not installed")
    from postgres_server import find_binaries, postgres_server

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def s3():
    """A server that speaks S3, one for each process that runs tests."""
    for module in ("boto3", "moto"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from s3_server import CREDENTIALS, s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(autouse=True)
def fairlead_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point FAIRLEAD_HOME at a folder of this test, so that nothing reaches the home of whoever runs it."""
    home = tmp_path / "fairlead-home"
    monkeypatch.setenv("FAIRLEAD_HOME", str(home))
    monkeypatch.setenv("FAIRLEAD_ENGINES", ENGINES)
    return home
