"""What this machine has, what is missing, and the cure: `fairlead doctor`.

Takes settings and the sandbox; gives a Diagnosis. Imports no framework to look for it, and changes nothing.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from fairlead.core.facts import Ceilings
from fairlead.core.ports import Sandbox
from fairlead.core.target import Machine
from fairlead.engines.machine import describe_machine

LOW_SPACE_BYTES = 2**30


@dataclass(frozen=True)
class Extra:
    """An optional part: what it is for, whether it is there, and the command that brings it."""

    name: str
    purpose: str
    versions: Mapping[str, str]
    missing: tuple[str, ...]
    cure: str

    @property
    def is_installed(self) -> bool:
        """Whether every package of it is there."""
        return not self.missing


@dataclass(frozen=True)
class StoreState:
    """Where records or blobs are, in a few words, and why they cannot be used now ("": they can)."""

    found: str
    problem: str = ""
    cure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The machine, engines that can serve, extras, the sandbox's layers ("active" or the reason), the home folder, the stores of a shared
    registry, and advice.
    """

    machine: Machine
    engines: Mapping[str, str]
    extras: tuple[Extra, ...]
    sandbox_layers: Mapping[str, str]
    home: Path
    free_bytes: int
    advice: tuple[str, ...]
    ceilings: Ceilings | None = None
    stores: Mapping[str, StoreState] = field(default_factory=dict)


# name -> (purpose, alternatives: one of these sets of modules has to be there)
_EXTRAS: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "sklearn": ("scikit-learn models (.pkl, .joblib, .skops)", (("sklearn", "skops", "skl2onnx"),)),
    "keras": ("Keras layers that Fairlead's own reader does not know", (("keras", "torch", "onnxscript"), ("keras", "jax", "jax2onnx"))),
    "torch": ("PyTorch models (.pt2, .pt, .pth, .safetensors)", (("torch", "onnxscript", "onnxslim"),)),
    "tensorflow": ("TensorFlow models (SavedModel, .tflite), and .tflite out", (("tensorflow", "tf2onnx"),)),
    "xgboost": ("XGBoost itself, to compare with (its files are read without it)", (("xgboost",),)),
    "lightgbm": ("LightGBM itself, to compare with, and to run trees with linear leaves", (("lightgbm",),)),
    "catboost": ("CatBoost itself, to compare with, and to run models with categories", (("catboost",),)),
    "slim": ("graphs rewritten by onnxslim (the pass slim_graph)", (("onnxslim",),)),
    "tfmot": ("training with TensorFlow Model Optimization (the pass train_tfmot)", (("tensorflow_model_optimization", "tf_keras"),)),
    "openvino": ("the engine OpenVINO", (("openvino",),)),
    "litert": ("the engine LiteRT (.tflite)", (("ai_edge_litert",),)),
    "postgres": ("records of a registry that several machines share", (("pg8000",),)),
    "s3": ("blobs in a store that speaks S3", (("boto3",),)),
    "mlflow": ("models from and to an MLflow tracking server", (("mlflow",),)),
}
# module -> the packages that bring it, where they are called otherwise
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "sklearn": ("scikit-learn",),
    "ai_edge_litert": ("ai-edge-litert",),
    "mlflow": ("mlflow-skinny",),
    "tf_keras": ("tf-keras",),
    "tensorflow_model_optimization": ("tensorflow-model-optimization",),
    "tensorflow": ("tensorflow-cpu", "tensorflow"),
    "xgboost": ("xgboost-cpu", "xgboost"),
}
# engine -> the module that it needs
_ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert", "torch": "torch", "python": "sklearn"}
_BOOSTERS = ("catboost", "lightgbm")  # one engine runs the files of either


def examine(home: Path, sandbox: Sandbox, *, is_measured: bool = False, stores: Mapping[str, StoreState] | None = None) -> Diagnosis:
    """Look at this machine; with `is_measured`, time what it can do at most. `stores` are those of a shared registry."""
    known = stores or {}
    machine = describe_machine()
    extras = tuple(_extra(name, *_EXTRAS[name]) for name in _EXTRAS)
    layers = sandbox.layers()
    free_bytes = shutil.disk_usage(_nearest_folder(home)).free
    engines = {name: version for name, module in _ENGINES.items() if (version := _version(module))}
    boosters = [f"{name} {version}" for name in _BOOSTERS if (version := _version(name))]
    if boosters:
        engines["booster"] = ", ".join(boosters)
    if shutil.which("cc"):
        engines["trees"] = "compiled by cc"
    ceilings = _measure() if is_measured else None
    return Diagnosis(machine, engines, extras, layers, home, free_bytes, _advice(layers, free_bytes, home, known), ceilings, known)


def _measure() -> Ceilings:
    from fairlead.engines.ceilings import measure_ceilings  # noqa: PLC0415 - without it, the doctor starts no runtime

    return measure_ceilings()


def absent_engines() -> dict[str, str]:
    """Return the engines whose library is not installed, with the command that brings each. Imports none of them."""
    extras = {module: name for name, (_, alternatives) in _EXTRAS.items() for modules in alternatives for module in modules}
    missing = {engine: module for engine, module in _ENGINES.items() if importlib.util.find_spec(module) is None}
    return {engine: f"pip install 'fairlead[{extras.get(module, engine)}]'" for engine, module in missing.items()}


def _extra(name: str, purpose: str, alternatives: tuple[tuple[str, ...], ...]) -> Extra:
    missing = min(([module for module in modules if importlib.util.find_spec(module) is None] for modules in alternatives), key=len)
    present = {module for modules in alternatives for module in modules if importlib.util.find_spec(module) is not None}
    versions = {module: _version(module) for module in sorted(present)}
    return Extra(name, purpose, versions, tuple(missing), "" if not missing else f"pip install 'fairlead[{name}]'")


def _version(module: str) -> str:
    """Return the version of the package that brings `module`, "" where there is none."""
    for package in _PACKAGES.get(module, (module,)):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def _nearest_folder(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def _advice(layers: Mapping[str, str], free_bytes: int, home: Path, stores: Mapping[str, StoreState]) -> tuple[str, ...]:
    advice = [f"The {name}: {state.cure}" for name, state in stores.items() if state.cure]
    weak = [layer for layer, state in layers.items() if state != "active"]
    if weak:
        advice.append(
            f"The sandbox lacks {', '.join(weak)}. Foreign files are still opened in a limited process of their own; "
            "set FAIRLEAD_SANDBOX_STRICT=1 to refuse them on this machine instead."
        )
    if free_bytes < LOW_SPACE_BYTES:
        advice.append(f"Only {free_bytes / 1e6:,.0f} MB are free for {home}. Free some, or point FAIRLEAD_HOME elsewhere.")
    return tuple(advice)
