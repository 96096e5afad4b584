"""A small model for each extra of Fairlead, made by the framework that the extra is for. See benchmarks/extras.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_RANDOM = np.random.default_rng(0)
_ROWS = _RANDOM.normal(size=(200, 6)).astype(np.float32)
_RIGHT = (_ROWS[:, 0] + _ROWS[:, 1] * _ROWS[:, 2] > 0).astype(np.int64)


@dataclass(frozen=True)
class Smoke:
    """One deployment: a file (or folder), more options, and what has to stand in the verdict's engine or reference. An extra that has no
    part in a deployment has a module of Fairlead that needs it.
    """

    file: str
    expected: str
    options: tuple[str, ...] = ()
    module: str = ""


SMOKES: Mapping[str, tuple[Smoke, ...]] = {
    "core": (Smoke("perceptron.onnx", "onnxruntime"), Smoke("network.h5", "Fairlead")),
    "sklearn": (Smoke("pipeline.joblib", "scikit-learn"),),
    "keras": (Smoke("network.keras", "keras"),),
    "keras-jax": (Smoke("masked.keras", "keras"),),
    "torch": (Smoke("network.pt2", "torch"),),
    "tensorflow": (Smoke("saved_model", "tensorflow"),),
    "xgboost": (Smoke("trees.json", "xgboost"), Smoke("trees.ubj", "xgboost")),
    "lightgbm": (Smoke("trees.txt", "lightgbm"),),
    "catboost": (Smoke("trees.cbm", "catboost"),),
    "openvino": (Smoke("perceptron.onnx", "openvino", ("--engine", "openvino")),),
    "litert": (Smoke("network.tflite", "litert"),),
    "mlflow": (Smoke("mlflow_model", "onnx"),),
    "grpc": (Smoke("perceptron.onnx", "onnxruntime", module="fairlead.probe.grpc_client"),),
    "otel": (Smoke("perceptron.onnx", "onnxruntime", module="fairlead.monitor.otlp_sink"),),
}


def make(extra: str, folder: Path) -> None:
    """Write the models of `extra` into `folder`, each with rows beside it where drawn ones would not do."""
    folder.mkdir(parents=True, exist_ok=True)
    _MAKERS[extra](folder)


def _core(folder: Path) -> None:
    _perceptron(folder / "perceptron.onnx")
    keras_sequential().save(folder / "network.h5")


def _perceptron(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    weights = {"w1": _RANDOM.normal(size=(6, 8)), "w2": _RANDOM.normal(size=(8, 3))}
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def keras_sequential():
    import keras

    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")])


def _sklearn(folder: Path) -> None:
    import joblib
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    joblib.dump(make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(_ROWS, _RIGHT), folder / "pipeline.joblib")


def _keras(folder: Path) -> None:
    """Resizing is left to Keras."""
    import keras

    layers = [keras.Input((8, 8, 3)), keras.layers.Resizing(4, 4), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    keras.Sequential(layers).save(folder / "network.keras")


def _keras_jax(folder: Path) -> None:
    """Masks are left to Keras."""
    import keras

    ids = keras.Input((None,), dtype="int32", name="ids")
    steps = keras.layers.LSTM(4)(keras.layers.Embedding(20, 5, mask_zero=True)(ids))
    keras.Model(ids, keras.layers.Dense(2, activation="softmax", name="score")(steps)).save(folder / "masked.keras")


def _torch(folder: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(dim=1)).eval()
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(network, (torch.zeros(3, 6),), dynamic_shapes=({0: batch},)), folder / "network.pt2")


def _tensorflow(folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(_RANDOM.normal(size=(6, 3)).astype(np.float32))
    module.serve = tf.function(lambda x: {"y": tf.nn.softmax(x @ module.w)}, input_signature=[tf.TensorSpec([None, 6], tf.float32, "x")])
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.serve)


def _xgboost(folder: Path) -> None:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=10, max_depth=3).fit(_ROWS, _RIGHT)
    for suffix in ("json", "ubj"):
        model.get_booster().save_model(folder / f"trees.{suffix}")


def _lightgbm(folder: Path) -> None:
    import lightgbm

    data = lightgbm.Dataset(_ROWS, _RIGHT)
    lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 10).save_model(folder / "trees.txt")


def _catboost(folder: Path) -> None:
    import catboost

    model = catboost.CatBoostClassifier(iterations=10, depth=3, verbose=False, allow_writing_files=False)
    model.fit(_ROWS, _RIGHT).save_model(str(folder / "trees.cbm"))


def _openvino(folder: Path) -> None:
    _perceptron(folder / "perceptron.onnx")


def _litert(folder: Path) -> None:
    import tensorflow as tf

    weights = tf.constant(_RANDOM.normal(size=(6, 3)).astype(np.float32))
    function = tf.function(lambda x: tf.nn.softmax(x @ weights), input_signature=[tf.TensorSpec([None, 6], tf.float32, "x")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    (folder / "network.tflite").write_bytes(converter.convert())


def _mlflow(folder: Path) -> None:
    import mlflow
    import onnx

    _perceptron(folder / "perceptron.onnx")
    model = onnx.load(folder / "perceptron.onnx")
    signature = mlflow.models.infer_signature(_ROWS)
    mlflow.onnx.save_model(model, str(folder / "mlflow_model"), signature=signature, pip_requirements=["onnxruntime"])


_MAKERS: Mapping[str, Callable[[Path], None]] = {
    "core": _core,
    "sklearn": _sklearn,
    "keras": _keras,
    "keras-jax": _keras_jax,
    "torch": _torch,
    "tensorflow": _tensorflow,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "openvino": _openvino,
    "litert": _litert,
    "mlflow": _mlflow,
    "grpc": lambda folder: _perceptron(folder / "perceptron.onnx"),
    "otel": lambda folder: _perceptron(folder / "perceptron.onnx"),
}
