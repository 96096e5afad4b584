"""Builders of hostile Keras files, made at test time by hand: the payload makes a canary file and nothing else."""

from __future__ import annotations

import base64
import io
import json
import marshal
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

WEIGHTS = {"layers/dense/vars/0": np.ones((4, 2), "f4"), "layers/dense/vars/1": np.ones(2, "f4")}


def node(class_name: str, name: str, module: str | None = "keras.layers", registered: str | None = None, **config: Any) -> dict[str, Any]:
    """Return a layer as Keras 3 writes it."""
    return {"module": module, "class_name": class_name, "config": {"name": name, **config}, "registered_name": registered}


def dense(name: str = "d", **config: Any) -> dict[str, Any]:
    """Return a dense layer of two units."""
    return node("Dense", name, units=2, activation="linear", use_bias=True, **config)


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return a sequential model that takes four numbers."""
    first = node("InputLayer", "x", batch_shape=[None, 4], dtype="float32")
    return node("Sequential", "net", "keras", layers=[first, *layers])


def lambda_layer(canary: Path, name: str = "evil") -> dict[str, Any]:
    """Return a Lambda layer whose code makes the canary when Keras calls it."""
    source = f"lambda x: (open({str(canary)!r}, 'w').close(), x)[1]"
    namespace: dict[str, Any] = {}
    exec(f"f = {source}", namespace)  # noqa: S102 - the payload is ours
    code = base64.b64encode(marshal.dumps(namespace["f"].__code__)).decode()
    function = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    return node("Lambda", name, function=function, arguments={})


def legacy_lambda_layer(canary: Path) -> dict[str, Any]:
    """Return the same as .h5 files have it."""
    new = lambda_layer(canary)["config"]["function"]["config"]["code"]
    return {"class_name": "Lambda", "config": {"name": "evil", "function": [new, None, None], "function_type": "lambda", "arguments": {}}}


def write_keras(path: Path, config: Any, weights: Mapping[str, Any] = WEIGHTS, *, members: Mapping[str, bytes] | None = None) -> Path:
    """Write a .keras file; `config` may be bytes."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for key, value in weights.items():
            file[key] = value
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.8.0"}))
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("model.weights.h5", stream.getvalue())
        for name, data in (members or {}).items():
            archive.writestr(name, data)
    return path


def write_h5(path: Path, config: Any) -> Path:
    """Write an .h5 file with the weights of a dense layer `d`."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.8.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights/d")
        file["model_weights"].attrs["layer_names"] = ["d"]
        group.attrs["weight_names"] = ["d/kernel", "d/bias"]
        group["d/kernel"] = np.ones((4, 2), "f4")
        group["d/bias"] = np.ones(2, "f4")
    return path


def mutate(data: bytes, seed: int, count: int = 40) -> bytes:
    """Return `data` with some bytes changed, half of them in the first kilobytes, where HDF5 keeps its structure."""
    generator = random.Random(seed)
    changed = bytearray(data)
    for number in range(count):
        limit = min(len(changed), 4096) if number % 2 else len(changed)
        changed[generator.randrange(8, limit)] = generator.randrange(256)  # the signature stays: otherwise nobody opens it
    return bytes(changed)


def read_many(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Entry for the sandbox: read many files in one worker and say how each ended."""
    from fairlead.errors import FairleadError
    from fairlead.ingest.keras_reader import read_in_sandbox

    ends = {}
    for path in arguments["paths"]:
        try:
            read_in_sandbox({"path": path, "format": "keras-h5", "scratch": arguments["scratch"]})
            ends[path] = "read"
        except FairleadError as error:
            ends[path] = error.code
    return {"ends": ends}
