"""What this machine has, what is missing, and the cure: `fairlead doctor`.

Takes settings and the sandbox; gives a Diagnosis. Imports no framework to look for it, and changes nothing.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

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
class Diagnosis:
    """The machine, engines that can serve, extras, the sandbox's layers ("active" or the reason), the registry folder, and advice."""

    machine: Machine
    engines: Mapping[str, str]
    extras: tuple[Extra, ...]
    sandbox_layers: Mapping[str, str]
    home: Path
    free_bytes: int
    advice: tuple[str, ...]


# name -> (purpose, alternatives: one of these sets of modules has to be there)
_EXTRAS: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "sklearn": ("scikit-learn models (.pkl, .joblib, .skops)", (("sklearn", "skops", "skl2onnx"),)),
    "keras": ("Keras layers that Fairlead's own reader does not know", (("keras", "torch", "onnxscript"), ("keras", "jax", "jax2onnx"))),
}
_PACKAGES = {"sklearn": "scikit-learn"}
_ENGINES = {"onnxruntime": "onnxruntime"}


def examine(home: Path, sandbox: Sandbox) -> Diagnosis:
    """Look at this machine."""
    machine = describe_machine()
    extras = tuple(_extra(name, *_EXTRAS[name]) for name in _EXTRAS)
    layers = sandbox.layers()
    free_bytes = shutil.disk_usage(_nearest_folder(home)).free
    engines = {name: _version(package) for name, package in _ENGINES.items()}
    return Diagnosis(machine, engines, extras, layers, home, free_bytes, _advice(extras, layers, free_bytes, home))


def _extra(name: str, purpose: str, alternatives: tuple[tuple[str, ...], ...]) -> Extra:
    missing = min(([module for module in modules if importlib.util.find_spec(module) is None] for modules in alternatives), key=len)
    present = {module for modules in alternatives for module in modules if importlib.util.find_spec(module) is not None}
    versions = {module: _version(_PACKAGES.get(module, module)) for module in sorted(present)}
    return Extra(name, purpose, versions, tuple(missing), "" if not missing else f"pip install 'fairlead[{name}]'")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _nearest_folder(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def _advice(extras: tuple[Extra, ...], layers: Mapping[str, str], free_bytes: int, home: Path) -> tuple[str, ...]:
    advice = [f"{extra.purpose}: {extra.cure}" for extra in extras if not extra.is_installed]
    weak = [layer for layer, state in layers.items() if state != "active"]
    if weak:
        advice.append(
            f"The sandbox lacks {', '.join(weak)}. Foreign files are still opened in a limited process of their own; "
            "set FAIRLEAD_SANDBOX_STRICT=1 to refuse them on this machine instead."
        )
    if free_bytes < LOW_SPACE_BYTES:
        advice.append(f"Only {free_bytes / 1e6:,.0f} MB are free for {home}. Free some, or point FAIRLEAD_HOME elsewhere.")
    return tuple(advice)
