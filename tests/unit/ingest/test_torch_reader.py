from __future__ import annotations

import io
import warnings
import zipfile

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fairlead.core.dtype import DType  # noqa: E402
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec  # noqa: E402
from fairlead.engines.torch_rows import draw_rows  # noqa: E402
from fairlead.errors import SpecError, UnsafeContentError, UnsupportedError  # noqa: E402
from fairlead.ingest.torch_interface import describe  # noqa: E402
from fairlead.ingest.torch_reader import inspect_in_sandbox, read_in_sandbox  # noqa: E402
from fairlead.security.torch_file import OpenModel, open_model  # noqa: E402

FREE = torch.export.Dim.DYNAMIC
NETS = """
import torch
from torch import Tensor, nn
from typing import Dict

class Net(nn.Module):
    def __init__(self, hidden: int = 4):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.last(torch.relu(self.norm(self.first(x)))), dim=-1)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x))

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Linear(3, 2)

    def forward(self, ids: Tensor, x: Tensor) -> Dict[str, Tensor]:
        return {"scores": self.table(x) + ids.sum(dim=1, keepdim=True), "ids": ids + 1}

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no licence")
"""


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory):
    """A module of the user's own, which can be imported; torch's own deprecations do not matter here."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "user_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.syspath_prepend(str(folder))
        yield __import__("user_nets")
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inputs(*specs):
    return msgspec.to_builtins(tuple(specs))


X = TensorSpec("x", DType.FP32, (None, 3))


def read(path, source_format, tmp_path, **options):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return read_in_sandbox({"path": str(path), "format": source_format, "options": options, "scratch": str(scratch)})


def interface_of(answer):
    return msgspec.convert(answer["interface"], Interface)


def exported(module, *examples, tmp_path, free=None):
    path = tmp_path / "model.pt2"
    free = free or tuple({0: FREE} for _ in examples)
    torch.export.save(torch.export.export(module.eval(), examples, dynamic_shapes=free), path)
    return path


def test_an_exported_program_says_what_it_takes_and_decides(nets, tmp_path):
    answer = read(exported(nets.Net(), torch.zeros(3, 3), tmp_path=tmp_path), "torch-exported", tmp_path)
    assert answer["form"] == "torch-file"
    assert answer["file"] == ""
    assert answer["framework"].endswith("(exported program)")
    assert interface_of(answer) == Interface(
        (X,), (TensorSpec("output", DType.FP32, (None, 2)),), Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, "output", "output")
    )


def test_names_of_several_inputs_and_of_a_dict_are_kept(nets, tmp_path):
    free = ({0: FREE, 1: FREE}, {0: FREE})
    path = exported(nets.Both(), torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 3), tmp_path=tmp_path, free=free)
    with pytest.raises(UnsupportedError, match="an output are both called 'ids'"):
        read(path, "torch-exported", tmp_path)


def test_a_fixed_batch_is_refused_with_the_way_to_free_it(nets, tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nets.Net().eval(), (torch.zeros(3, 3),)), path)
    with pytest.raises(UnsupportedError, match="The batch of the model is fixed") as caught:
        read(path, "torch-exported", tmp_path)
    assert "dynamic_shapes" in caught.value.hint


def test_torchscript_needs_inputs_and_says_how_to_give_them(nets, tmp_path):
    torch.jit.save(torch.jit.script(nets.Net().eval()), tmp_path / "model.pt")
    with pytest.raises(SpecError, match="does not record what it takes") as caught:
        read(tmp_path / "model.pt", "torch-script", tmp_path)
    assert "--input" in caught.value.hint
    assert "--data" in caught.value.hint
    found = interface_of(read(tmp_path / "model.pt", "torch-script", tmp_path, inputs=inputs(X)))
    assert found.decision == Decision(DecisionKind.ARGMAX, "output", "output")


def test_torchscript_saved_in_training_mode_is_put_into_inference_mode(nets, tmp_path):
    torch.jit.save(torch.jit.script(nets.Net().train()), tmp_path / "model.pt")
    assert interface_of(read(tmp_path / "model.pt", "torch-script", tmp_path, inputs=inputs(X))).task is Task.CLASSIFICATION


def test_a_trace_in_training_mode_is_refused_since_rows_change_each_other(nets, tmp_path):
    torch.jit.save(torch.jit.trace(nets.Net().train(), torch.randn(5, 3)), tmp_path / "model.pt")
    with pytest.raises(UnsupportedError, match=r"depends on the other rows|does not run"):
        read(tmp_path / "model.pt", "torch-script", tmp_path, inputs=inputs(X))


def weights(nets, tmp_path, **more):
    torch.save(nets.Net(**more).state_dict(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_weights_without_a_class_say_what_to_give(nets, tmp_path):
    with pytest.raises(SpecError, match="weights only") as caught:
        read(weights(nets, tmp_path), "torch-state", tmp_path, inputs=inputs(X))
    assert "--model-class module:Class" in caught.value.hint


def test_weights_with_their_class_are_read_and_wide_inputs_become_float32(nets, tmp_path):
    wide = TensorSpec("x", DType.FP64, (None, 3))
    more = {"model_class": "user_nets:Net", "model_arguments": {"hidden": 6}}
    answer = read(weights(nets, tmp_path, hidden=6), "torch-state", tmp_path, inputs=inputs(wide), **more)
    assert interface_of(answer).inputs == (X,)
    assert answer["notes"] == ["input 'x' is float32, as the weights are"]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("user_nets:Tied", r"lacks one\.bias.*has no place for first\.bias"),
        ("user_nets:Net", r"first\.bias has shape \[6\] in the file and \[4\] in the class"),
    ],
)
def test_weights_of_another_class_are_refused_and_named(nets, tmp_path, location, said):
    with pytest.raises(UnsupportedError, match=said):
        read(weights(nets, tmp_path, hidden=6), "torch-state", tmp_path, inputs=inputs(X), model_class=location)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("no_such_module:Net", "cannot be imported"),
        ("user_nets:Nothing", "cannot be imported"),
        ("user_nets:Fails", "RuntimeError: no licence"),
        ("collections:OrderedDict", "not a torch.nn.Module"),
    ],
)
def test_a_class_that_cannot_be_made_is_refused_with_the_reason(nets, tmp_path, location, said):
    with pytest.raises(SpecError, match=said):
        read(weights(nets, tmp_path), "torch-state", tmp_path, inputs=inputs(X), model_class=location)


def test_a_checkpoint_gives_its_weights_and_says_what_is_left_out(nets, tmp_path):
    state = {f"module.{name}": tensor for name, tensor in nets.Net().state_dict().items()}
    torch.save({"model_state_dict": state, "optimizer": {"lr": 0.1}, "epoch": 7}, tmp_path / "model.pth")
    answer = read(tmp_path / "model.pth", "torch-state", tmp_path, inputs=inputs(X), model_class="user_nets:Net")
    assert answer["notes"] == [
        "the weights are 'model_state_dict' of a checkpoint; left out: optimizer, epoch",
        "'module.' taken off the names of the weights",
    ]


def test_weights_that_are_shared_stand_once_in_safetensors(nets, tmp_path):
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    library.save_model(nets.Tied(), tmp_path / "model.safetensors")
    answer = read(tmp_path / "model.safetensors", "safetensors", tmp_path, inputs=inputs(X), model_class="user_nets:Tied")
    assert answer["notes"] == ["'other.weight' shares the weights of 'one.weight'"]


def test_a_whole_module_is_refused_by_the_name_of_its_class(nets, tmp_path):
    torch.save(nets.Net(), tmp_path / "model.pt")
    with pytest.raises(UnsafeContentError, match=r"user_nets\.Net"):
        read(tmp_path / "model.pt", "torch-state", tmp_path, inputs=inputs(X), model_class="user_nets:Net")


def test_inputs_of_other_names_than_forward_takes_are_refused_where_there_are_several(nets, tmp_path):
    torch.save(nets.Both().state_dict(), tmp_path / "model.pth")
    given = inputs(TensorSpec("a", DType.INT64, (None, 2)), TensorSpec("b", DType.FP32, (None, 3)))
    with pytest.raises(SpecError, match="takes ids, x; the inputs given are a, b"):
        read(tmp_path / "model.pth", "torch-state", tmp_path, inputs=given, model_class="user_nets:Both")


def test_inspection_opens_nothing_and_says_what_the_file_holds(nets, tmp_path):
    answer = inspect_in_sandbox({"path": str(weights(nets, tmp_path)), "format": "torch-state", "scratch": str(tmp_path)})
    assert answer["facts"]["tensor_count"] == 9
    assert "--model-class" in answer["notes"][0]


def on_gpu(path, target):
    """Rewrite a file as it would have been saved on a GPU: only the tags of places differ. There is no GPU here."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as file:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".pkl"):
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            if name.endswith(".py"):
                data = data.replace(b'torch.device("cpu")', b'torch.device("cuda:0")')
            if name.endswith(".json"):
                data = data.replace(b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}')
            if "sample_inputs" not in name:
                file.writestr(name, data)
    return target


class Placed(nn.Module):
    """Makes a tensor on a device while it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + torch.ones(3, device=torch.device("cpu"))


@pytest.mark.parametrize("kind", ["torch-exported", "torch-script", "torch-state"])
def test_a_model_from_a_gpu_answers_on_the_cpu_as_before_and_says_so(nets, tmp_path, kind):
    model = nn.Sequential(nn.Linear(3, 3), Placed()) if kind != "torch-state" else nets.Net().eval()
    options = {"inputs": inputs(X)}
    if kind == "torch-exported":
        path = exported(model, torch.zeros(3, 3), tmp_path=tmp_path)
        options = {}
    elif kind == "torch-script":
        path = tmp_path / "model.pt"
        torch.jit.save(torch.jit.trace(model, torch.zeros(3, 3)), path)
    else:
        path = tmp_path / "model.pth"
        torch.save(model.state_dict(), path)
        options["model_class"] = "user_nets:Net"
    moved = on_gpu(path, tmp_path / f"gpu{path.suffix}")
    if kind != "torch-exported":
        with pytest.raises(RuntimeError, match="CUDA"):  # the positive control: the raw library cannot open it here
            (torch.jit.load if kind == "torch-script" else torch.load)(moved)
    answer = read(moved, kind, tmp_path, **options)
    assert "weights were on cuda:0; moved to the CPU" in answer["notes"]
    opened = open_model(moved, kind, options, tmp_path)
    rows = torch.randn(4, 3)
    assert torch.equal(opened.call([rows]), model(rows))


def described(call, *specs):
    axes = tuple(
        tuple("batch" if axis == 0 else f"{spec.name}.{axis}" if size is None else size for axis, size in enumerate(spec.shape))
        for spec in specs
    )
    return describe(OpenModel("module", None, specs, axes, lambda tensors: call(*tensors)))[0]


def test_free_sizes_of_outputs_are_those_that_follow_a_length():
    long = TensorSpec("x", DType.FP32, (None, None, 2))
    outputs = described(lambda x: (x.sum(2), (x.sum(1), x.mean(1))), long).outputs
    assert [(spec.name, spec.shape) for spec in outputs] == [
        ("output_0", (None, None)),
        ("output_1_0", (None, 2)),
        ("output_1_1", (None, 2)),
    ]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: x.sum(), "one answer per row"),
        (lambda x: x.sum(0), "one answer per row"),
        (lambda x: x @ x.T, "changes with the number of rows"),
        (lambda x: x - x.mean(0), "depends on the other rows"),
        (lambda x: x + torch.rand(3), "differs when the same rows are asked again"),
        (lambda x: x.to(torch.complex64), "complex64"),
        (lambda x: None, "no outputs"),
        (lambda x: "text", "gives a str"),
        (lambda x: x @ torch.zeros(4, 4), "does not run on drawn rows"),
    ],
)
def test_a_model_that_does_not_answer_row_by_row_is_refused_by_name(call, said):
    with pytest.raises(UnsupportedError, match=said):
        described(call, X)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda x: torch.softmax(x, -1), DecisionKind.ARGMAX),
        (lambda x: torch.log_softmax(x, 1), DecisionKind.ARGMAX),
        (lambda x: torch.sigmoid(x[:, :1]), DecisionKind.THRESHOLD),
        (lambda x: torch.sigmoid(x[:, :1]).squeeze(-1), DecisionKind.THRESHOLD),
        (torch.sigmoid, None),
        (lambda x: torch.softmax(x, -1) * 2, None),
        (lambda x: torch.softmax(x, 0), "rows"),
        (lambda x: x[:, :1], None),
        (lambda x: x, None),
    ],
)
def test_a_decision_is_told_by_the_last_operator_or_not_at_all(call, kind):
    if kind == "rows":
        with pytest.raises(UnsupportedError, match="depends on the other rows"):
            described(call, X)
        return
    decision = described(call, X).decision
    assert (decision.kind if decision is not None else None) == kind


def test_lengths_that_a_model_does_not_take_are_tried_until_some_fit():
    """Two halvings need sizes that can be divided by four."""
    image = TensorSpec("image", DType.FP32, (None, 1, None, None))

    def halve(x):
        half = nn.functional.max_pool2d(x, 4)
        return x + nn.functional.interpolate(half, scale_factor=4.0)

    model = OpenModel("module", None, (image,), (("batch", 1, "h", "w"),), lambda tensors: halve(*tensors))
    assert {rows["image"].shape[2:] for rows in draw_rows(model).drawn} == {(8, 8), (16, 16)}


def test_the_check_of_an_archive_leaves_the_answers_as_they_were(nets, tmp_path):
    model = nets.Net().eval()
    path = exported(model, torch.zeros(3, 3), tmp_path=tmp_path)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    assert torch.equal(open_model(path, "torch-exported", {}, tmp_path).call([rows]), model(rows))
    assert not list(tmp_path.glob("checked*"))


def test_an_old_archive_of_torch_is_refused_with_what_to_do(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("m/archive_format", "pt2")
        file.writestr("m/data/weights/model.pt", b"")
    (tmp_path / "model.pt2").write_bytes(target.getvalue())
    with pytest.raises(UnsafeContentError, match=r"torch 2\.10 and later"):
        read(tmp_path / "model.pt2", "torch-exported", tmp_path)
