"""Names that clients know, from the file to the served version: real files, renamed in the sandbox, and what a deployment makes of them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import registered
from onnx import TensorProto, helper
from registered import write_model
from release_pets import request

from fairlead.app.deploy import DeployRequest, deploy
from fairlead.app.model import open_version
from fairlead.app.public_names import Naming, naming_for
from fairlead.app.release_begin import begin
from fairlead.app.release_view import say
from fairlead.app.wiring import House
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.manifest import Manifest
from fairlead.engines.layer_graph_file import read_layer_graph, write_layer_graph
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import RejectedError, SpecError
from fairlead.register.names import parse_renames


class _Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, text: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def done(self, text: str) -> None:
        self.said.append(text)


def network(path: Path, entry: str, exit_: str, *, factor: float = 2.0) -> tuple[Path, Interface]:
    """exit = softmax(entry * factor)."""
    nodes = lambda: [helper.make_node("Mul", [entry, "factor"], ["m"]), helper.make_node("Softmax", ["m"], [exit_])]
    ends = [(entry, TensorProto.FLOAT, ["b", 4])], [(exit_, TensorProto.FLOAT, ["b", 4])]
    write_model(path, nodes, *ends, {"factor": np.float32([factor])})
    return path, interface(entry, exit_)


def interface(entry: str, exit_: str) -> Interface:
    specs = [(TensorSpec(name, DType.FP32, (None, 4)),) for name in (entry, exit_)]
    return Interface(*specs, Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, exit_, scores=exit_))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> House:
    """A registry with a live version whose tensors are called `input_layer` and `dense_1`."""
    folder = tmp_path_factory.mktemp("names")
    house = registered.new_house(folder / "home")
    house = dataclasses.replace(house, settings=dataclasses.replace(house.settings, verify_call_count=20, verify_time_s=0.2))
    registered.add_version(house, "pets", network(folder / "first.onnx", "input_layer", "dense_1"))
    return house


@pytest.mark.slow
def test_a_version_keeps_the_live_names_and_can_be_tried_by_a_canary(trained, tmp_path):
    heard = _Heard()
    file, _ = network(tmp_path / "next.onnx", "input_layer_2", "dense_3", factor=3.0)
    wanted = DeployRequest(file, "pets", alias="", engine="onnxruntime")
    version = deploy(wanted, trained, heard).version
    assert "'dense_3' is called 'dense_1', as in pets:1" in "\n".join(heard.said)
    assert begin(request(version.label), trained).release.candidate == version.number
    say("pets", "stop", trained)
    loaded = open_version(version, trained)
    (answer,) = loaded.engine.run({"input_layer": np.float32([[0, 0, 0, 1]])}).values()
    np.testing.assert_allclose(answer, [np.exp([0, 0, 0, 3]) / np.exp([0, 0, 0, 3]).sum()], rtol=1e-5)
    loaded.engine.close()
    loaded.release()


def test_what_cannot_be_told_is_refused_with_the_option_that_tells_it(trained, tmp_path):
    other = registered.add_version(trained, "pets", network(tmp_path / "other.onnx", "pixels", "probabilities"), alias="")
    with pytest.raises(RejectedError) as refused:
        begin(request(other.label), trained)
    options = "--rename pixels=input_layer --rename probabilities=dense_1"
    assert f"Only names differ. Where the tensors mean the same, deploy it again with {options}. Otherwise" in refused.value.hint
    source = artifact(ArtifactForm.ONNX_FILE, tmp_path / "other.onnx", entry="pixels", exit_="probabilities")
    naming = naming_for(source, parse_renames(options.replace("--rename ", "").split()), "pets", "production", trained)
    called = naming.of_artifact(source, tmp_path / "named", trained.sandbox)
    told = registered.add_version(trained, "pets", (called.path, called.interface), alias="")
    assert begin(request(told.label), trained).release.candidate == told.number
    say("pets", "stop", trained)


def artifact(form: ArtifactForm, path: Path, *, entry: str = "input_layer_2", exit_: str = "dense_3") -> Artifact:
    return Artifact(SourceFormat.KERAS_H5, form, path, path, Manifest(()), "keras", interface(entry, exit_))


def test_a_layer_graph_is_written_anew_under_the_public_names(tmp_path, trained):
    source = artifact(ArtifactForm.LAYER_GRAPH, tmp_path / "graph")
    calls = (Call("relu", (ValueRef(GRAPH_INPUT),)),)
    graph = LayerGraph("g", {"relu": Layer("relu", "ReLU")}, calls, source.interface.inputs, (("dense_3", ValueRef(0)),))
    write_layer_graph(source.path, graph, {})
    naming = naming_for(source, {}, "pets", "production", trained)
    assert naming.names == {"input_layer_2": "input_layer", "dense_3": "dense_1"}
    called = naming.of_artifact(source, tmp_path / "named", trained.sandbox)
    written, _ = read_layer_graph(called.path)
    assert ([spec.name for spec in written.inputs], [name for name, _ in written.outputs]) == (["input_layer"], ["dense_1"])
    assert called.interface.output("dense_1").shape == (None, 4)
    assert called.notes == naming.sentences


def test_a_person_may_keep_the_files_own_names(tmp_path, trained):
    source = artifact(ArtifactForm.LAYER_GRAPH, tmp_path)
    kept = naming_for(source, {"dense_3": "dense_3", "input_layer_2": "input_layer_2"}, "pets", "production", trained)
    assert kept == Naming()
    assert naming_for(source, {"dense_3": "scores"}, "pets", "", trained).names == {"input_layer_2": "input_layer", "dense_3": "scores"}
    assert naming_for(source, {}, "cats", "production", trained) == Naming()


def test_names_that_a_format_fixes_are_not_changed(tmp_path, trained):
    source = artifact(ArtifactForm.TREE_ENSEMBLE, tmp_path)
    assert naming_for(source, {}, "pets", "production", trained) == Naming()
    with pytest.raises(SpecError, match="have fixed names"):
        naming_for(source, {"dense_3": "scores"}, "pets", "production", trained)


def test_inputs_that_a_forward_takes_by_name_keep_their_names_and_outputs_need_not(tmp_path, trained):
    """TorchScript and classes are called with `forward(input_layer_2=...)`: two inputs with each other's names would be mixed up unseen."""
    source = dataclasses.replace(artifact(ArtifactForm.TORCH_FILE, tmp_path), format=SourceFormat.TORCH_SCRIPT)
    with pytest.raises(SpecError, match="takes 'input_layer_2' by that name"):
        naming_for(source, {"input_layer_2": "pixels"}, "pets", "production", trained)
    assert naming_for(source, {"dense_3": "scores"}, "pets", "production", trained).names == {"dense_3": "scores"}
    assert naming_for(source, {}, "pets", "production", trained).names == {"dense_3": "dense_1"}
    program = dataclasses.replace(source, format=SourceFormat.TORCH_EXPORTED)
    assert naming_for(program, {"input_layer_2": "pixels"}, "pets", "production", trained).names["input_layer_2"] == "pixels"


@pytest.mark.slow
def test_an_exported_program_answers_by_order_where_two_inputs_have_each_others_names(tmp_path, trained):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from fairlead.engines.torch_engine import model_arguments, run_once

    class Apart(torch.nn.Module):
        def forward(self, left, right):
            return {"up": left + 2, "down": left - 3 * right}

    rows = {name: np.random.default_rng(seed).normal(size=(6, 4)).astype(np.float32) for seed, name in enumerate(("left", "right"))}
    given = tuple(map(torch.from_numpy, rows.values()))
    free = ({0: torch.export.Dim.DYNAMIC},) * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Apart().eval(), given, dynamic_shapes=free), tmp_path / "apart.pt2")
    inputs, outputs = ([TensorSpec(name, DType.FP32, (None, 4)) for name in names] for names in (("left", "right"), ("up", "down")))
    source = dataclasses.replace(
        artifact(ArtifactForm.TORCH_FILE, tmp_path / "apart.pt2"),
        format=SourceFormat.TORCH_EXPORTED,
        interface=Interface(tuple(inputs), tuple(outputs)),
    )
    naming = naming_for(source, {"left": "right", "right": "left", "up": "down", "down": "up"}, "apart", "production", trained)
    called = naming.of_artifact(source, tmp_path / "named", trained.sandbox)
    write_tensors(tmp_path / "rows.npz", naming.of_rows(Dataset(rows)).inputs)
    try:
        run_once({**model_arguments(called), "scratch": str(tmp_path), "inputs": str(tmp_path / "rows.npz")})
    finally:
        torch.set_grad_enabled(True)  # a sandboxed process has no other use for gradients; this one may
    got = read_tensors(tmp_path / "outputs.npz")
    np.testing.assert_allclose(got["down"], rows["left"] + 2, rtol=1e-6)
    np.testing.assert_allclose(got["up"], rows["left"] - 3 * rows["right"], rtol=1e-5, atol=1e-6)


def test_a_tensor_that_is_not_there_is_not_renamed(tmp_path, trained):
    with pytest.raises(SpecError, match=r"no tensor 'dense' to rename\. It has: input_layer_2, dense_3"):
        naming_for(artifact(ArtifactForm.LAYER_GRAPH, tmp_path), {"dense": "scores"}, "pets", "production", trained)
