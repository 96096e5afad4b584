from __future__ import annotations

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
nn = torch.nn

from fairlead.convert.stage import convert  # noqa: E402
from fairlead.convert.torch_original import keep_torch  # noqa: E402
from fairlead.core.artifact import SourceOptions  # noqa: E402
from fairlead.core.conversion import RuntimeForm  # noqa: E402
from fairlead.core.dtype import DType  # noqa: E402
from fairlead.core.interface import TensorSpec  # noqa: E402
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from fairlead.engines.torch_engine import TorchEngine, open_reference  # noqa: E402
from fairlead.errors import SandboxError, UnsupportedError  # noqa: E402
from fairlead.ingest.stage import ingest  # noqa: E402
from fairlead.security.sandbox import OneShotSandbox  # noqa: E402

NETS = """
import torch
from torch import Tensor, nn

class Sequence(nn.Module):
    '''Any length; two outputs in a dict.'''

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor):
        found = self.head(self.embedding(ids))
        return {"places": found, "whole": torch.softmax(found.mean(dim=1), dim=-1)}

class Spectrum(nn.Module):
    '''ONNX has no operator for eigenvalues.'''

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(3, 4)

    def forward(self, x: Tensor):
        square = self.wide(x).reshape(-1, 2, 2)
        return torch.linalg.eigvalsh(square @ square.transpose(1, 2))
"""
IDS = TensorSpec("ids", DType.INT64, (None, None))
X = TensorSpec("x", DType.FP32, (None, 3))


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    (folder / "convert_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield __import__("convert_nets"), folder
    sys.modules.pop("convert_nets", None)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(nets, name, tmp_path, spec):
    module, folder = nets
    model = getattr(module, name)().eval()
    torch.save(model.state_dict(), tmp_path / "model.pth")
    options = SourceOptions(model_class=f"convert_nets:{name}", import_paths=(folder,), inputs=(spec,))
    sandbox = OneShotSandbox()
    return model, ingest(tmp_path / "model.pth", tmp_path / "ingest", sandbox=sandbox, options=options), sandbox


@pytest.mark.slow
def test_weights_with_a_class_become_onnx_with_free_batch_and_length(nets, tmp_path):
    model, artifact, sandbox = saved(nets, "Sequence", tmp_path, IDS)
    conversion = convert(artifact, tmp_path / "convert", sandbox=sandbox)
    assert conversion.form is RuntimeForm.ONNX
    assert conversion.steps[0].tool == "torch_to_onnx (dynamo)"
    assert [spec.shape for spec in conversion.interface.outputs] == [(None, None, 3), (None, 3)]
    engine, reference = OnnxRuntimeEngine(conversion.path, conversion.interface), open_reference(artifact, tmp_path / "run", sandbox)
    for batch, length in ((1, 4), (5, 17)):
        rows = {"ids": np.random.default_rng(batch).integers(0, 9, (batch, length))}
        with torch.no_grad():
            wanted = model(torch.from_numpy(rows["ids"]))
        for got in (engine.run(rows), *([reference.run(rows)] if batch > 1 else ())):
            for name, tensor in wanted.items():
                np.testing.assert_allclose(got[name], tensor.numpy(), atol=1e-6)
    engine.close()


@pytest.mark.slow
def test_a_graph_that_onnx_cannot_hold_is_kept_for_pytorch_and_says_why(nets, tmp_path):
    model, artifact, sandbox = saved(nets, "Spectrum", tmp_path, X)
    conversion = convert(artifact, tmp_path / "convert", sandbox=sandbox)
    assert (conversion.form, conversion.path.name) == (RuntimeForm.TORCH, "model.torch")
    assert any(note.startswith("No ONNX form: ") and "eigvalsh" in note for note in conversion.steps[0].notes)
    engine = TorchEngine(conversion.path, conversion.interface, sandbox=sandbox)
    try:
        rows = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
        with torch.no_grad():
            wanted = model(torch.from_numpy(rows)).numpy()
        np.testing.assert_allclose(engine.run({"x": rows})["output"], wanted, atol=1e-6)
        assert engine.description.startswith("torch ")
    finally:
        engine.close()


class Broken:
    """A sandbox in which every job dies."""

    def run(self, job):
        raise SandboxError("The import worker crashed (SIGSEGV).")


def test_an_exporter_that_dies_is_a_failed_route_and_nothing_else(nets, tmp_path):
    from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
    from fairlead.core.interface import Interface
    from fairlead.core.manifest import FileEntry, Manifest

    interface = Interface((X,), (TensorSpec("output", DType.FP32, (None, 2)),))
    manifest = Manifest((FileEntry("m.pt2", 1, "0" * 64),))
    path = tmp_path / "m.pt2"
    form = ArtifactForm.TORCH_FILE
    artifact = Artifact(SourceFormat.TORCH_EXPORTED, form, path, path, manifest, "torch", interface)
    from fairlead.convert.torch_to_onnx import convert_torch_file

    with pytest.raises(UnsupportedError, match=r"by dynamo: .*SIGSEGV.*by torchscript: .*SIGSEGV"):
        convert_torch_file(artifact, tmp_path / "work", sandbox=Broken())
    with pytest.raises(SandboxError):
        keep_torch(replace(artifact, notes=("weights were on cuda:0; moved to the CPU",)), tmp_path / "kept", sandbox=Broken())
