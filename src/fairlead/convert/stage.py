"""Step 3, the door: an Artifact -> canonical ONNX with its lineage.

Whatever the route, the result is one file, checked by onnx.checker, with a free batch and exactly the interface's names and element
types. Where no route to ONNX exists and the original can run in a process of its own, that is the result, and its lineage says why. Raises
UnsupportedError for a model or a result that does not fit, MissingExtraError where a route's library is absent.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairlead.convert.canonical_check import check_canonical
from fairlead.convert.catalog import CONVERTERS, ORIGINALS
from fairlead.core.artifact import Artifact, ArtifactForm
from fairlead.core.conversion import Conversion, RuntimeForm
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox
from fairlead.errors import MissingExtraError, UnsupportedError
from fairlead.security.digests import digest_file


def convert(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Convert `artifact` into a folder of its own and return the checked result.

    A layer graph with something that our converter does not honour goes to Keras itself where it is installed; the lineage says so.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        conversion = _run(artifact, workspace, sandbox)
    except UnsupportedError as refusal:
        if artifact.form is ArtifactForm.LAYER_GRAPH:
            conversion = _convert_with_keras(artifact, workspace, sandbox, refusal)
        elif artifact.form.value in ORIGINALS.variants:
            conversion = _keep(artifact, workspace, sandbox, refusal)
        else:
            raise
    if conversion.form is RuntimeForm.ONNX:
        check_canonical(conversion, workspace)
    return replace(conversion, steps=_linked(artifact, conversion))


def _keep(artifact: Artifact, workspace: Path, sandbox: Sandbox, refusal: UnsupportedError) -> Conversion:
    """Return the original in a form that runs as it is, with the reason why it is not ONNX."""
    kept: Conversion = ORIGINALS.load(artifact.form.value)(artifact, workspace, sandbox=sandbox)
    first, *rest = kept.steps
    return replace(kept, steps=(replace(first, notes=(*first.notes, f"No ONNX form: {refusal.message}")), *rest))


def _run(artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Conversion:
    conversion: Conversion = CONVERTERS.load(artifact.form.value)(artifact, workspace, sandbox=sandbox)
    return conversion


def _convert_with_keras(artifact: Artifact, workspace: Path, sandbox: Sandbox, refusal: UnsupportedError) -> Conversion:
    whole = replace(artifact, form=ArtifactForm.KERAS_FILE, path=artifact.snapshot)
    try:
        conversion = _run(whole, workspace, sandbox)
    except MissingExtraError as missing:
        raise UnsupportedError(refusal.message, hint=missing.hint) from missing
    first, *rest = conversion.steps
    return replace(conversion, steps=(replace(first, notes=(*first.notes, f"Converted by Keras, because: {refusal.message}")), *rest))


def _linked(artifact: Artifact, conversion: Conversion) -> tuple[Step, ...]:
    """Return the steps from the source's digest to the file's."""
    steps = list(conversion.steps)
    steps[0] = replace(steps[0], input_digest=artifact.source.digest)
    steps[-1] = replace(steps[-1], output_digest=digest_file(conversion.path))
    return tuple(steps)
