"""Which engine answers for the original: its own framework where it is installed, otherwise the reader's evaluation.

Takes an Artifact, gives an Engine and a sentence for the report; raises MissingExtraError where nothing on this machine can run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairlead.core.artifact import Artifact, ArtifactForm
from fairlead.core.ports import Engine, Sandbox
from fairlead.engines.catalog import REFERENCES
from fairlead.errors import MissingExtraError, UnsupportedError


@dataclass(frozen=True)
class ReferenceChoice:
    """The engine that answers for the original, and why it is this one ("" where it is the obvious one)."""

    engine: Engine
    note: str = ""


def choose_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> ReferenceChoice:
    """Open the engine that answers for the original."""
    note = ""
    if artifact.form is ArtifactForm.LAYER_GRAPH:
        try:
            engine: Engine = REFERENCES.load("keras")(artifact, scratch / "keras", sandbox)
            return ReferenceChoice(engine)
        except (MissingExtraError, UnsupportedError) as error:
            note = f"compared with Fairlead's own evaluation of the layers, not with Keras: {error.message}"
    return ReferenceChoice(REFERENCES.load(artifact.form.value)(artifact, scratch / "reference", sandbox), note)
