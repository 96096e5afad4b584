"""Canonical ONNX of an artifact that a pass has changed, for passes that start from the framework's own form and see no converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact
from fairlead.core.ports import Sandbox


def rebuilder(sandbox: Sandbox) -> Callable[[Artifact, Path], Path]:
    """Return a function of an artifact and a folder that gives the path of the model in it; it raises what `convert` raises."""

    def rebuild(artifact: Artifact, folder: Path) -> Path:
        return convert(artifact, folder, sandbox=sandbox).path

    return rebuild
