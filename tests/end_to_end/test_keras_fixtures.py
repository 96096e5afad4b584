"""Law 8: what Keras 2 and Keras 3 wrote once is read for ever. No Keras is needed here; scripts/make_keras_fixtures.py wrote the files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.convert.stage import convert
from fairlead.core.artifact import ArtifactForm
from fairlead.core.ports import Engine, SandboxJob
from fairlead.engines.layer_graph_engine import open_reference
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.ingest.stage import ingest

FOLDER = Path(__file__).parents[1] / "data" / "keras"
FILES = sorted(path for path in FOLDER.glob("*/*") if path.suffix in {".h5", ".keras"})


class InProcessSandbox:
    """Runs the reader here: these files are our own, and the sandbox has tests of its own."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        module, _, function = job.entry.partition(":")
        job.scratch.mkdir(parents=True, exist_ok=True)
        return getattr(importlib.import_module(module), function)({**job.arguments, "scratch": str(job.scratch)})

    def layers(self) -> Mapping[str, str]:
        return {}


def test_both_generations_and_both_formats_are_kept() -> None:
    assert {(path.parent.name.partition("-")[0], path.suffix) for path in FILES} == {
        (framework, suffix) for framework in ("keras", "tf_keras") for suffix in (".h5", ".keras")
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_old_keras_file_gives_the_answers_of_the_framework_that_wrote_it(path: Path, tmp_path: Path) -> None:
    artifact = ingest(path, tmp_path / "ingest", sandbox=InProcessSandbox())
    assert artifact.form is ArtifactForm.LAYER_GRAPH
    conversion = convert(artifact, tmp_path / "convert", sandbox=InProcessSandbox())
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as answers:
        expected = dict(answers)
    for engine in (OnnxRuntimeEngine(conversion.path, conversion.interface), open_reference(artifact, tmp_path, InProcessSandbox())):
        compare(engine, expected)
        engine.close()


def compare(engine: Engine, expected: Mapping[str, np.ndarray]) -> None:
    for question in {key.rpartition("/")[0] for key in expected}:
        inputs = {spec.name: expected[f"{question}/in{place}"] for place, spec in enumerate(engine.interface.inputs)}
        outputs = engine.run(inputs)
        wanted = [expected[f"{question}/out{place}"] for place in range(sum(key.startswith(f"{question}/out") for key in expected))]
        assert len(wanted) == len(engine.interface.outputs)
        for spec, want in zip(engine.interface.outputs, wanted, strict=True):
            np.testing.assert_allclose(outputs[spec.name], want, rtol=1e-5, atol=1e-5, err_msg=f"{engine.description}, {spec.name}")
