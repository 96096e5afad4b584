from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import UnsupportedError
from fairlead.security.digests import digest_file
from fairlead.security.sandbox import OneShotSandbox


def artifact(folder: Path, nodes, batch=None, opset=17, notes=()):
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "W")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch or "N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch or "N", 3])],
        [weights],
    )
    path = folder / "in" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    interface = Interface((TensorSpec("x", DType.FP32, (batch, 4)),), (TensorSpec("y", DType.FP32, (batch, 3)),))
    source = Manifest((FileEntry("model.onnx", path.stat().st_size, digest_file(path)),))
    return Artifact(SourceFormat.ONNX, ArtifactForm.ONNX_FILE, path, path, source, "ONNX", interface, notes=notes)


MATMUL = helper.make_node("MatMul", ["x", "W"], ["m"])


def test_the_graph_is_kept_and_its_rows_are_proven_independent(tmp_path):
    given = artifact(tmp_path, [MATMUL, helper.make_node("Relu", ["m"], ["y"])])
    conversion = convert(given, tmp_path / "work", sandbox=OneShotSandbox())
    assert conversion.interface == given.interface
    assert conversion.steps[0].notes == ("batches of 1, 2 and 7 answer as each row alone",)
    assert conversion.steps[0].input_digest == given.source.digest
    assert conversion.steps[-1].output_digest == digest_file(conversion.path)


def test_a_model_that_mixes_rows_is_refused(tmp_path):
    mixing = [MATMUL, helper.make_node("Softmax", ["m"], ["y"], axis=0)]
    with pytest.raises(UnsupportedError, match="does not treat rows independently: output 'y' of a batch of 2 differs"):
        convert(artifact(tmp_path, mixing), tmp_path / "work", sandbox=OneShotSandbox())


def test_a_fixed_batch_is_refused_with_the_readers_reason(tmp_path):
    given = artifact(tmp_path, [MATMUL, helper.make_node("Relu", ["m"], ["y"])], batch=3, notes=("the batch cannot be freed: it differs",))
    with pytest.raises(UnsupportedError, match=r"batch is fixed.*cannot be freed"):
        convert(given, tmp_path / "work", sandbox=OneShotSandbox())


def test_an_operator_set_that_is_too_old_is_upgraded(tmp_path):
    given = artifact(tmp_path, [MATMUL, helper.make_node("Relu", ["m"], ["y"])], opset=6)
    conversion = convert(given, tmp_path / "work", sandbox=OneShotSandbox())
    assert onnx.load_model(conversion.path).opset_import[0].version == 13
    assert "operator set 6 upgraded to 13" in conversion.steps[0].notes
