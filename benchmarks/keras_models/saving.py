"""Builds models with Keras 2 or 3, draws their weights, and saves them with inputs and with the framework's own answers.

For each model: `<name>.h5`, `<name>.keras`, and `<name>.npz` with arrays `<size>/<rows>/in<i>` and `<size>/<rows>/out<i>`; what could not
be built or saved is in `problems.json`.
"""

from __future__ import annotations

import importlib
import json
import traceback
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_models.case import Case, Keras

ROWS = (1, 2, 7)
FORMATS = ("h5", "keras")


def save_all(framework: str, chosen: Iterable[Case], folder: Path) -> None:
    """Build and save every chosen case with the module named `framework` into `folder`."""
    keras = importlib.import_module(framework)
    problems: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        if framework not in case.frameworks:
            problems[case.name] = "does not exist there"
            continue
        try:
            model = _built(keras, case)
            answers = _answers(model, case)
        except Exception as error:  # noqa: BLE001 - whatever a framework raises for a model that it cannot build belongs in the table
            problems[case.name] = _sentence(error)
            continue
        np.savez(folder / f"{case.name}.npz", **answers)
        problems |= _saved(model, case, folder)
        keras.backend.clear_session()
    versions = {"framework": framework, "version": str(keras.__version__)}
    (folder / "problems.json").write_text(json.dumps({"problems": problems, **versions}, indent=1))


def _saved(model: Any, case: Case, folder: Path) -> dict[str, str]:
    problems = {}
    for extension in FORMATS:
        try:
            model.save(folder / f"{case.name}.{extension}")
        except Exception as error:  # noqa: BLE001 - see save_all
            (folder / f"{case.name}.{extension}").unlink(missing_ok=True)
            problems[f"{case.name}.{extension}"] = _sentence(error)
    return problems


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or traceback.format_exception_only(error)
    return f"{type(error).__name__}: {lines[0]:.160}"


def _built(keras: Keras, case: Case) -> Any:
    model = case.build(keras)
    draw = np.random.default_rng(zlib.crc32(case.name.encode()))
    for variable in model.weights:
        path = (getattr(variable, "path", "") or variable.name).split(":")[0]
        array = _drawn(draw, path, tuple(variable.shape))
        if array is not None:
            variable.assign(array.astype(np.float32))
    return model


def _drawn(draw: np.random.Generator, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return weights that keep outputs near 1 and that show a mistake: none is zero or one. None: leave it as it is."""
    role = path.rsplit("/", 1)[-1]
    if role in {"mean", "variance", "count", "seed_generator_state"}:
        return None
    if role in {"gamma", "scale", "moving_variance", "concat_score_weight"}:
        return draw.uniform(0.5, 1.5, shape)
    if role in {"beta", "bias", "moving_mean"}:
        return draw.normal(0.0, 0.3, shape)
    if role == "alpha":
        return draw.uniform(0.1, 0.4, shape)
    if role == "embeddings":
        return draw.normal(0.0, 1.0, shape)
    is_projection = any(f"/{part}/" in f"/{path}" for part in ("query", "key", "value"))
    fan_in = shape[0] if is_projection else int(np.prod(shape[:-2])) if "depthwise" in role else int(np.prod(shape[:-1]))
    return draw.normal(0.0, 1.2 / np.sqrt(max(fan_in, 1)), shape)


def _answers(model: Any, case: Case) -> dict[str, np.ndarray]:
    answers: dict[str, np.ndarray] = {}
    is_free = any(None in tuple(tensor.shape)[1:] for tensor in model.inputs)
    for size in case.sizes if is_free else case.sizes[:1]:
        inputs = _inputs(model, case, size)
        batch = next(iter(model.inputs[0].shape))
        for rows in [rows for rows in ROWS if batch in (None, rows)]:
            some = [tensor[:rows] for tensor in inputs]
            outputs = _outputs(model(_question(model, some), training=False))
            answers |= {f"{size}/{rows}/in{place}": tensor for place, tensor in enumerate(some)}
            answers |= {f"{size}/{rows}/out{place}": _numpy(tensor) for place, tensor in enumerate(outputs)}
    return answers


def _question(model: Any, tensors: list[np.ndarray]) -> Any:
    """Return the tensors in the structure that the model was built with."""
    if any(isinstance(getattr(model, attribute, None), dict) for attribute in ("_nested_inputs", "_inputs_struct")):
        return {tensor.name.split(":")[0]: array for tensor, array in zip(model.inputs, tensors, strict=True)}
    return tensors if len(tensors) > 1 else tensors[0]


def _outputs(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        return [answer[name] for name in sorted(answer)]
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def _numpy(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def _inputs(model: Any, case: Case, size: int) -> list[np.ndarray]:
    draw = np.random.default_rng(size)
    tensors = []
    for tensor in model.inputs:
        shape = (ROWS[-1], *(size if length is None else int(length) for length in tuple(tensor.shape)[1:]))
        is_whole = "int" in str(tensor.dtype)
        if not (is_whole or case.has_float_ids):
            tensors.append(draw.normal(0.0, 1.0, shape).astype(np.float32))
            continue
        ids = draw.integers(1, case.vocabulary, shape)
        if case.padded:
            lengths = draw.integers(max(1, int(size * (1 - case.padded))), size + 1, len(ids))
            ids[np.arange(shape[1])[np.newaxis, :] >= lengths[:, np.newaxis]] = 0
        tensors.append(ids.astype(getattr(tensor.dtype, "name", tensor.dtype)))
    return tensors
