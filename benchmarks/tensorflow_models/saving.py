"""Saves the battery's models with one framework, with inputs and with the framework's own answers.

For each model: the folder or file that a user would have, and `<name>.npz` with arrays `<length>/<rows>/in/<name>` and `.../out/<name>`,
named as the model's signature names them. What could not be saved is in `problems.json`. Runs in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

KERAS_MODELS = (
    "mlp", "cnn", "mobile_cnn", "several_inputs_and_outputs", "lstm", "gru", "text_classifier", "multi_head_attention",
    "transformer_encoder", "vision_transformer", "preprocessing", "batch_normalization", "autoencoder", "convolutions_1d", "activations",
)  # fmt: skip
ROWS = (1, 2, 7)
LITE_KINDS = ("float", "dynamic", "int8")
_QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
Answers = dict[str, np.ndarray]


def save(framework: str, folder: Path, only: str) -> None:
    """Save every chosen model with `framework`: keras, tf_keras, functions or lite (of what keras and functions left beside)."""
    os.environ.update(_QUIET)
    folder.mkdir(parents=True, exist_ok=True)
    problems: dict[str, str] = {}
    savers = {"keras": _keras_models, "tf_keras": _keras_models, "functions": _functions, "lite": _lite_models}
    for name, work in savers[framework](framework, folder, only):
        try:
            np.savez_compressed(folder / f"{name}.npz", **work())
        except Exception as error:  # noqa: BLE001 - whatever a framework raises for a model that it cannot save belongs in the table
            problems[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
    (folder / "problems.json").write_text(json.dumps(problems, indent=1))


def _keras_models(framework: str, folder: Path, only: str) -> Iterator[tuple[str, Any]]:
    keras = importlib.import_module(framework)
    battery, saving = importlib.import_module("keras_models.battery"), importlib.import_module("keras_models.saving")
    for name in KERAS_MODELS:
        if only in name:

            def work(case: Any = battery.BATTERY[name]) -> Answers:
                model = saving._built(keras, case)  # noqa: SLF001 - the same models with the same weights as in the Keras battery
                answers = saving._answers(model, case)  # noqa: SLF001 - and the same answers
                if framework == "keras":
                    model.export(folder / case.name, format="tf_saved_model", verbose=False)
                    inputs, outputs = [tensor.name for tensor in model.inputs], [f"output_{place}" for place in range(len(model.outputs))]
                else:
                    model.save(folder / case.name, save_format="tf")
                    inputs, outputs = list(model.input_names), list(model.output_names)
                return {_renamed(key, inputs, outputs): array for key, array in answers.items()}

            yield name, work


def _renamed(key: str, inputs: list[str], outputs: list[str]) -> str:
    """Return `5/7/in/<name>` for `5/7/in0`."""
    length, rows, place = key.split("/")
    names = inputs if place.startswith("in") else outputs
    return f"{length}/{rows}/{'in' if names is inputs else 'out'}/{names[int(place.removeprefix('in').removeprefix('out'))]}"


def _functions(_: str, folder: Path, only: str) -> Iterator[tuple[str, Any]]:
    tf = importlib.import_module("tensorflow")
    cases = importlib.import_module("tensorflow_models.functions").CASES
    for case in (case for case in cases if only in case.name):

        def work(case: Any = case) -> Answers:
            case.save(tf, folder / case.name)
            answers: Answers = {}
            if case.draw is None:
                return answers
            function = tf.saved_model.load(str(folder / case.name)).signatures[case.options.get("signature", "serving_default")]
            for length in case.lengths:
                for rows in ROWS:
                    given = case.draw(rows, length)
                    results = function(**{name: tf.constant(array) for name, array in given.items()})
                    answers |= _listed(length, rows, given, {name: tensor.numpy() for name, tensor in results.items()})
            return answers

        yield case.name, work


def _listed(length: int, rows: int, given: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]) -> Answers:
    named = {f"{length}/{rows}/in/{name}": array for name, array in given.items()}
    named |= {f"{length}/{rows}/out/{name}": array for name, array in results.items()}
    return {key: array.astype(str) if array.dtype.kind == "O" else array for key, array in named.items()}


# TensorFlow's own calibrator dies of a signal, most times, when it is fed a model with a loop.
_FATAL = {("loop", "int8")}


def _lite_models(_: str, folder: Path, only: str) -> Iterator[tuple[str, Any]]:
    tf = importlib.import_module("tensorflow")
    sources = sorted([*(folder.parent / "keras").glob("*/saved_model.pb"), *(folder.parent / "functions").glob("*/saved_model.pb")])
    for source in (path.parent for path in sources if only in path.parent.name):
        for kind in LITE_KINDS:
            if (source.name, kind) in _FATAL:
                continue

            def work(source: Path = source, kind: str = kind) -> Answers:
                path = folder / f"{source.name}.{kind}.tflite"
                path.write_bytes(_written(tf, source, kind))
                return _lite_answers(path)

            yield f"{source.name}.{kind}", work


def _written(tf: Any, source: Path, kind: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=["serving_default"])
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "int8":
        specs = tf.saved_model.load(str(source)).signatures["serving_default"].structured_input_signature[1]

        def samples() -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
            random = np.random.default_rng(0)
            for _ in range(30):
                yield "serving_default", {name: _sample(random, spec) for name, spec in specs.items()}

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if all(spec.dtype == tf.float32 for spec in specs.values()):
            converter.inference_input_type = converter.inference_output_type = tf.int8
    written: bytes = converter.convert()
    return written


def _sample(random: np.random.Generator, spec: Any) -> np.ndarray:
    sizes = [1, *(5 if size is None else size for size in spec.shape[1:])]
    drawn = random.normal(size=sizes) if spec.dtype.is_floating else random.integers(0, 20, sizes)
    return np.asarray(drawn, spec.dtype.as_numpy_dtype)


def _lite_answers(path: Path) -> Answers:
    """Ask LiteRT for one row at a time, as the file was planned."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    (signature,) = interpreter._get_full_signature_list().values()  # noqa: SLF001 - which tensor is behind which name
    details = {item["index"]: item for item in interpreter.get_input_details()}
    is_free = any(-1 in details[index]["shape_signature"][1:] for index in signature["inputs"].values())
    answers: Answers = {}
    for length in (5, 11) if is_free else (5,):
        given = {name: _drawn(details[index], length) for name, index in signature["inputs"].items()}
        for name, index in signature["inputs"].items():
            interpreter.resize_tensor_input(index, (1, *given[name].shape[1:]))
        interpreter.allocate_tensors()
        single = []
        for row in range(max(ROWS)):
            interpreter.reset_all_variables()
            for name, index in signature["inputs"].items():
                interpreter.set_tensor(index, given[name][row : row + 1])
            interpreter.invoke()
            single.append({name: interpreter.get_tensor(index) for name, index in signature["outputs"].items()})
        for rows in ROWS:
            results = {name: np.concatenate([answer[name] for answer in single[:rows]]) for name in signature["outputs"]}
            answers |= _listed(length, rows, {name: array[:rows] for name, array in given.items()}, results)
    return answers


def _drawn(detail: Mapping[str, Any], length: int) -> np.ndarray:
    """Return rows: fractions are normal, quantized numbers any of their type, other whole numbers small."""
    random = np.random.default_rng([length, len(detail["name"])])
    sizes = (max(ROWS), *(length if size < 0 else size for size in detail["shape_signature"][1:].tolist()))
    kind = np.dtype(detail["dtype"])
    if kind.kind == "f":
        return random.normal(size=sizes).astype(kind)
    if detail["quantization"][0]:
        return random.integers(np.iinfo(kind).min, np.iinfo(kind).max, sizes, kind, endpoint=True)
    return random.integers(0, 20, sizes).astype(kind)
