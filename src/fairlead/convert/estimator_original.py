"""An estimator without an exact ONNX form stays what it is: a checked file that scikit-learn runs in a process of its own.

Takes an Artifact of form estimator-file; gives a Conversion of form PYTHON whose file is a byte-for-byte copy of the snapshot. It was
checked and opened when it was read, and is checked again whenever an engine opens it (security.estimator_file). Never
opens the estimator, and never imports scikit-learn in this process.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from fairlead.core.artifact import Artifact
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox
from fairlead.security.digests import digest_file

# The same code answers for original and copy; sums may be added in another order for another number of rows.
_TOLERANCE = 1e-6
_NOTE = (
    "the estimator is kept as it is and runs in scikit-learn, in a sandboxed process of its own: slower than a graph, and it needs the "
    "extra 'sklearn' where it is served, in the version that it was proven with"
)
_LIBRARIES = ("scikit-learn", "scipy", "numpy")


def keep_estimator(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:  # noqa: ARG001 - the catalog's signature
    """Copy the estimator's file to `workspace`/model.estimator."""
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / MAIN_FILE[RuntimeForm.PYTHON]
    shutil.copyfile(artifact.snapshot, path)
    step = Step(
        "convert",
        "estimator_original",
        artifact.source.digest,
        digest_file(path),
        versions={name: metadata.version(name) for name in _LIBRARIES},
        parameters={"file_format": artifact.format.value},
        notes=(_NOTE,),
    )
    return Conversion(path, artifact.interface, (step,), _TOLERANCE, form=RuntimeForm.PYTHON)
