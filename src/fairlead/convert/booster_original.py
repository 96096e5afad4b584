"""A booster without an exact ONNX form stays what it is: a checked file that its own library runs in a process of its own.

Takes an Artifact of form booster-file; gives a Conversion of form BOOSTER whose file is a byte-for-byte copy of the snapshot. It was
checked when it was read, and is checked again whenever an engine opens it (security.booster_file). Never opens it, and never imports the
library.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox
from fairlead.security.digests import digest_file

_TOLERANCE = 1e-6  # the same code answers for original and copy
_LIBRARIES = {
    SourceFormat.CATBOOST_CBM: ("CatBoost", "catboost"),
    SourceFormat.LIGHTGBM_TEXT: ("LightGBM", "lightgbm"),
}


def keep_booster(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:  # noqa: ARG001 - the catalog's signature
    """Copy the library's file to `workspace`/model.booster."""
    name, package = _LIBRARIES[artifact.format]
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / MAIN_FILE[RuntimeForm.BOOSTER]
    shutil.copyfile(artifact.snapshot, path)
    note = (
        f"the model is kept as it is and runs in {name}, in a sandboxed process of its own: slower than a graph, and it needs the extra "
        f"'{package}' where it is served, in the version that it was proven with"
    )
    step = Step(
        "convert",
        "booster_original",
        artifact.source.digest,
        digest_file(path),
        versions=_version(package),
        parameters={"file_format": artifact.format.value},
        notes=(note,),
    )
    return Conversion(path, artifact.interface, (step,), _TOLERANCE, form=RuntimeForm.BOOSTER)


def _version(package: str) -> dict[str, str]:
    with suppress(metadata.PackageNotFoundError):
        return {package: metadata.version(package)}
    return {}
