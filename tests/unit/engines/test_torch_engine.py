from __future__ import annotations

import warnings

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from fairlead.core.dtype import DType  # noqa: E402
from fairlead.core.interface import Interface, TensorSpec  # noqa: E402
from fairlead.engines.tensor_file import read_tensors, write_tensors  # noqa: E402
from fairlead.engines.torch_engine import kept_format, open_in_sandbox, run_once  # noqa: E402
from fairlead.engines.torch_rows import name_outputs  # noqa: E402
from fairlead.errors import DataError, UnsupportedError  # noqa: E402

INTERFACE = Interface((TensorSpec("rows", DType.FP32, (None, 3)),), (TensorSpec("score", DType.FP32, (None, 2)),))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A TorchScript file whose own names are others than the interface's."""
    model = torch.nn.Linear(3, 2)
    path = tmp_path_factory.mktemp("kept") / "model.torch"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; people have such files
        torch.jit.save(torch.jit.trace(model, torch.zeros(3, 3)), path)
    yield path, model
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def arguments(path, tmp_path, **more):
    return {"path": str(path), "interface": msgspec.to_builtins(INTERFACE), "scratch": str(tmp_path), **more}


def test_a_kept_file_is_opened_once_and_answers_under_the_interface_s_names(kept, tmp_path):
    path, model = kept
    answer = open_in_sandbox(arguments(path, tmp_path, thread_count=1))
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    got = answer({"rows": rows})
    assert list(got) == ["score"]
    np.testing.assert_allclose(got["score"], model(torch.from_numpy(rows)).detach().numpy(), atol=1e-6)
    assert kept_format(path) == "torch-script"


def test_rows_that_the_model_refuses_are_a_data_error(kept, tmp_path):
    answer = open_in_sandbox(arguments(kept[0], tmp_path, thread_count=1))
    with pytest.raises(DataError, match="PyTorch refuses these rows"):
        answer({"rows": np.zeros((2, 5), np.float32)})


def test_the_reference_answers_many_rows_in_pieces(kept, tmp_path):
    path, model = kept
    rows = np.random.default_rng(1).normal(size=(600, 3)).astype(np.float32)
    write_tensors(tmp_path / "inputs.npz", {"rows": rows})
    options = {"inputs": msgspec.to_builtins(INTERFACE.inputs)}
    run_once(arguments(path, tmp_path, format="torch-script", options=options, inputs=str(tmp_path / "inputs.npz")))
    got = read_tensors(tmp_path / "outputs.npz")["score"]
    np.testing.assert_allclose(got, model(torch.from_numpy(rows)).detach().numpy(), atol=1e-6)


def test_outputs_are_named_by_their_place_or_key():
    one = torch.zeros(1)
    names = [name for name, _ in name_outputs(({"a b": one, "c": (one, [one])}, one, None))]
    assert names == ["output_0_a_b", "output_0_c_0", "output_0_c_1_0", "output_1"]
    assert [name for name, _ in name_outputs([one])] == ["output"]
    assert [name for name, _ in name_outputs({"1x": one, "_1x": one})] == ["_1x", "_1x_1"]


def test_an_answer_that_is_no_tensor_is_refused_by_its_type():
    with pytest.raises(UnsupportedError, match="gives a int"):
        name_outputs((1,))
