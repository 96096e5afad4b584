"""The exam of the Engine port: what every engine that runs an ONNX file has to do, the serving one and the sandboxed original."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.interface import Interface
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import Engine
from fairlead.engines.onnx_reference_engine import open_reference
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import RequestError, UnavailableError
from fairlead.security.sandbox import OneShotSandbox

sys.path.append(str(Path(__file__).parents[1] / "unit" / "engines"))
from tiny_onnx import LINEAR, WEIGHTS, echo_model, linear_model

ROWS = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
Opener = Callable[[Path, Interface], Engine]


def open_serving(path: Path, interface: Interface) -> Engine:
    return OnnxRuntimeEngine(path, interface)


def open_original(path: Path, interface: Interface) -> Engine:
    source = Manifest((FileEntry(path.name, path.stat().st_size, "0" * 64),))
    artifact = Artifact(SourceFormat.ONNX, ArtifactForm.ONNX_FILE, path, path, source, "onnx", interface)
    return open_reference(artifact, path.parent / "scratch", OneShotSandbox())


@pytest.fixture(params=[open_serving, open_original], ids=["onnxruntime", "onnx in the sandbox"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param


def test_it_answers_every_row(opener: Opener, tmp_path: Path) -> None:
    answer = opener(linear_model(tmp_path / "m.onnx"), LINEAR).run({"x": ROWS})
    assert list(answer) == ["y"]
    assert np.allclose(answer["y"], ROWS @ WEIGHTS, atol=1e-6)


def test_text_goes_in_and_comes_out(opener: Opener, tmp_path: Path) -> None:
    from fairlead.core.dtype import DType

    path, interface = echo_model(tmp_path / "m.onnx", DType.BYTES)
    tensor = np.array([["a", "日本\0"]], dtype=object)
    assert opener(path, interface).run({"x": tensor})["y"].tolist() == tensor.tolist()


def test_it_says_what_it_takes_and_what_runs_it(opener: Opener, tmp_path: Path) -> None:
    engine = opener(linear_model(tmp_path / "m.onnx"), LINEAR)
    assert engine.interface == LINEAR
    assert engine.description.startswith("onnxruntime 1.")


def test_inputs_that_do_not_fit_are_refused(opener: Opener, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="shape"):
        opener(linear_model(tmp_path / "m.onnx"), LINEAR).run({"x": ROWS[:, :2]})


def test_closing_twice_is_no_error_and_ends_it(opener: Opener, tmp_path: Path) -> None:
    engine = opener(linear_model(tmp_path / "m.onnx"), LINEAR)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": ROWS})


def test_it_changes_none_of_its_inputs(opener: Opener, tmp_path: Path) -> None:
    rows = ROWS.copy()
    opener(linear_model(tmp_path / "m.onnx"), LINEAR).run({"x": rows})
    assert rows.tobytes() == ROWS.tobytes()
