"""A server with models that show what a client sent, and the environment in which other projects' clients live."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"


class Echo:
    """Gives each input back as the output of the same type."""

    description = "echo 1.0"

    def __init__(self) -> None:
        inputs = tuple(TensorSpec(dtype.value.lower(), dtype, (None, 2)) for dtype in DType)
        self.interface = Interface(inputs, tuple(TensorSpec(f"{dtype.value.lower()}_out", dtype, (None, 2)) for dtype in DType))

    def run(self, inputs, outputs=()):
        return {f"{name}_out": tensor for name, tensor in inputs.items() if not outputs or f"{name}_out" in outputs}

    def close(self) -> None:
        pass


class Double:
    """y = 2 x over a table with named columns; waits for as long as the first value says, if that is negative."""

    description = "double 1.0"
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 3), ("age", "height", "weight")),),
        (TensorSpec("y", DType.FP32, (None, 3)),),
        Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "y", scores="y"),
        ("young", "tall", "heavy"),
    )

    def run(self, inputs, outputs=()):
        x = inputs["x"]
        if x[0, 0] < 0:
            time.sleep(float(-x[0, 0]))
        return {"y": x * np.float32(2)}

    def close(self) -> None:
        pass


class Twin:
    """FP16 in and out, one text to another: what a single-input model is asked with."""

    description = "twin 1.0"

    def __init__(self, dtype: DType) -> None:
        self.interface = Interface((TensorSpec("x", dtype, (None, 4)),), (TensorSpec("y", dtype, (None, 4)),))

    def run(self, inputs, outputs=()):
        return {"y": inputs["x"]}

    def close(self) -> None:
        pass


class Source:
    """A registry in memory with one version of each model."""

    makers: dict[str, Callable[[], object]]

    def __init__(self) -> None:
        self.makers = {"echo": Echo, "double": Double, "half": lambda: Twin(DType.FP16), "texts": lambda: Twin(DType.BYTES)}

    def aspired(self) -> dict[str, Version]:
        return {name: Version(name, 3, Manifest((FileEntry("model.onnx", 1, f"{3:064x}"),)), 0.0) for name in self.makers}

    def sequence(self) -> int:
        return 1

    def load(self, wanted: Version) -> LoadedModel:
        engine = self.makers[wanted.name]()
        golden = None
        if wanted.name == "double":
            x = np.array([[1, 2, 3]], np.float32)
            golden = Golden({"x": x}, {"y": x * 2})
        return LoadedModel(engine, golden)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    options = {"default_model": "double", "software_version": "1.2.3", "allow_model_control": True, "statistics": statistics}
    job = ServeJob(Source(), port=0, grpc_port=0, **options)
    with ServerThread(job) as running:
        yield running


def statistics(name: str, number: int) -> dict[str, object]:
    return {"name": name, "version": str(number), "inference_count": 0}


@pytest.fixture(scope="session")
def run_client(tmp_path_factory) -> Callable[..., list[dict[str, object]]]:
    """Return what runs one of the programs in the clients' environment (`python`: in another) and gives what it says of its checks."""

    def run(program: str, *arguments: str, python: str = "") -> list[dict[str, object]]:
        own = ROOT / ".venv-clients" / "bin" / "python"
        if not python and not own.exists():
            pytest.skip("the clients' environment is not there: scripts/environment.sh .venv-clients clients")
        folder = tmp_path_factory.mktemp("client")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FAIRLEAD", "COV"))}
        command = [python or str(own), "-W", "ignore", str(PROGRAMS / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run
