"""Small Keras files made by hand with h5py and zipfile, without Keras, so that every byte of them is ours."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from fairlead.ingest import keras_reader
from fairlead.security.sandbox import OneShotSandbox

DATA = Path(__file__).parents[2] / "data" / "keras_reader"


def layer(class_name, name, **config):
    return {"module": "keras.layers", "class_name": class_name, "config": {"name": name, **config}, "registered_name": None}


def sequential(*layers, **extra):
    first = layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32")
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "layers": [first, *layers]},
        "registered_name": None,
    } | extra


def dense(name="d", units=2, **config):
    return layer("Dense", name, units=units, **({"activation": "softmax", "use_bias": True} | config))


def arrays(name="d", units=2, seed=0):
    rng = np.random.default_rng(seed)
    return {f"{name}/kernel": rng.normal(size=(4, units)).astype("f4"), f"{name}/bias": rng.normal(size=units).astype("f4")}


def write_h5(path, config, weights, *, version="3.15.1", training=None, optimizer=None):
    """`weights` are `layer/name` -> array, in order; `config` may be text."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
        group = file.create_group("model_weights")
        parsed = config if isinstance(config, dict) else json.loads(config)
        names = [item["config"]["name"] for item in parsed.get("config", {}).get("layers", [])]
        group.attrs["layer_names"] = names
        for name in names:
            own = {key: value for key, value in weights.items() if key.startswith(f"{name}/")}
            part = group.create_group(name)
            part.attrs["weight_names"] = list(own) or np.zeros(0)
            for key, value in own.items():
                part[key] = value
        for key, value in (optimizer or {}).items():
            file[f"optimizer_weights/{key}"] = value
    return path


def write_keras(path, config, weights, *, version="3.15.1", members=None):
    """`weights` are paths in model.weights.h5 -> array; `members` are further members of the zip."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for key, value in weights.items():
            file[key] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", stream.getvalue())
        for name, data in (members or {}).items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def keras():
    """The builders, so that tests need not import this file."""
    return SimpleNamespace(
        layer=layer,
        sequential=sequential,
        dense=dense,
        arrays=arrays,
        write_h5=write_h5,
        write_keras=write_keras,
        data=DATA,
        copy=copy.deepcopy,
    )


@pytest.fixture
def read(tmp_path):
    """Read a file in this process, as the sandbox would."""

    def run(path):
        scratch = tmp_path / f"scratch-{path.name}"
        scratch.mkdir(exist_ok=True)
        kind = "keras-h5" if path.suffix in (".h5", ".hdf5") else "keras-zip"
        return keras_reader.read_in_sandbox({"path": str(path), "format": kind, "scratch": str(scratch)}) | {"scratch": scratch}

    return run


@pytest.fixture(scope="session")
def sandbox():
    return OneShotSandbox()
