"""Folders of networks: ONNX, PyTorch, TensorFlow and Keras, in every form that MLflow writes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from mlflow_models.folder import Folder, table


@functools.cache
def _singles() -> Array:
    return table().astype(np.float32)


def _torch() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3), torch.nn.Softmax(-1)).eval()


def _scripted() -> Any:
    import torch

    return torch.jit.trace(_torch(), torch.zeros(2, 4))


def _ask_torch(network: Any, rows: Array) -> dict[str, Array]:
    import torch

    module = network.module() if hasattr(network, "graph_module") else network
    with torch.no_grad():
        return {"": module(torch.from_numpy(rows)).numpy()}


def _keras() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3, "softmax", name="probabilities")]
    return keras.Sequential(layers)


def _ask_keras(network: Any, rows: Array) -> dict[str, Array]:
    return {"": network.predict(rows, verbose=0)}


def _ask_exported(network: Any, rows: Array) -> dict[str, Array]:
    import tensorflow as tf

    return {"": network.serve(tf.constant(rows)).numpy()}


def _tensorflow() -> Any:
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            return {"probabilities": tf.nn.softmax(x @ self.weights)}

    return Net()


def _ask_tensorflow(network: Any, rows: Array) -> dict[str, Array]:
    import tensorflow as tf

    return {"": next(iter(network(tf.constant(rows)).values())).numpy()}


def _onnx() -> Any:
    import onnx
    from onnx import helper, numpy_helper

    weights = np.random.default_rng(2).normal(size=(4, 512)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Softmax", ["y"], ["probabilities"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 512])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _ask_onnx(model: Any, rows: Array) -> dict[str, Array]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return {"probabilities": session.run(None, {"x": rows})[0]}


def _signature() -> Any:
    from mlflow.models import infer_signature

    return infer_signature(_singles(), _singles()[:, :3])


def _folder(flavor: str, name: str, train: Any, ask: Any, options: Any = (), **rest: Any) -> Folder:
    return Folder(flavor, "dense", name, train, ask, dict(options), _singles, **rest)


FOLDERS = [
    _folder("onnx", "one file", _onnx, _ask_onnx, {"save_as_external_data": False}),
    _folder("onnx", "external data", _onnx, _ask_onnx),
    _folder(
        "pytorch",
        "exported program, .pt2",
        _torch,
        _ask_torch,
        {"serialization_format": "pt2", "input_example": _singles()[:2], "signature": _signature()},
    ),
    _folder(
        "pytorch",
        "TorchScript, inputs from the signature",
        _scripted,
        _ask_torch,
        {"serialization_format": "pickle", "signature": _signature()},
    ),
    _folder("pytorch", "pickled module", _torch, _ask_torch, {"serialization_format": "pickle"}, refusal="pickled nn.Module"),
    _folder("tensorflow", "Keras model, .keras", _keras, _ask_keras),
    _folder("tensorflow", "Keras model, .h5", _keras, _ask_keras, {"keras_model_kwargs": {"save_format": "h5"}}),
    _folder("tensorflow", "module, SavedModel", _tensorflow, _ask_tensorflow),
    _folder("keras", "Keras model, .keras", _keras, _ask_keras),
    _folder("keras", "exported Keras model, SavedModel", _keras, _ask_exported, {"save_exported_model": True, "signature": _signature()}),
]
