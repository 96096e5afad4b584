"""The names by which clients know a new version's tensors: those of the live version, where a framework only counted on, or as told.

Takes what was taken in and a House; gives it under those names, so that every later step knows no others. Raises SpecError for names that
make no sense, or a model whose tensors have fixed names. What was renamed stands in the version's lineage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead.app.release_checks import interface_of
from fairlead.app.wiring import House
from fairlead.convert.tensor_names import rename_file
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.ports import Sandbox
from fairlead.core.version import PRODUCTION
from fairlead.engines.layer_graph_file import read_layer_graph, write_layer_graph
from fairlead.errors import CorruptError, NotFoundError, SpecError
from fairlead.register.names import kept_names, renamed

# Their readers, converters and references go by the order of tensors (but see `_fixed_inputs`); the first two hold names of their own, and
# these are rewritten.
_RENAMED = frozenset(
    {ArtifactForm.LAYER_GRAPH, ArtifactForm.ONNX_FILE, ArtifactForm.KERAS_FILE, ArtifactForm.TORCH_FILE, ArtifactForm.SAVED_MODEL}
)


@dataclass(frozen=True)
class Naming:
    """`names` are the tensors' own -> those that clients use; `like` is the version whose names were kept ("" for none)."""

    names: Mapping[str, str] = field(default_factory=dict)
    like: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is called otherwise than in the file, and why."""
        why = f", as in {self.like}" if self.like else ""
        return tuple(f"'{own}' is called '{public}'{why}" for own, public in self.names.items())

    def of_rows(self, rows: Dataset) -> Dataset:
        """Return the rows with these names."""
        return replace(rows, inputs={self.names.get(name, name): tensor for name, tensor in rows.inputs.items()})

    def of_artifact(self, artifact: Artifact, folder: Path, sandbox: Sandbox) -> Artifact:
        """Return the artifact with these names; new files go into `folder`."""
        if not self.names:
            return artifact
        interface = renamed(artifact.interface, self.names)
        path = artifact.path
        if artifact.form is ArtifactForm.LAYER_GRAPH:
            path = folder
            graph, weights = read_layer_graph(artifact.path)
            outputs = tuple((self.names.get(name, name), ref) for name, ref in graph.outputs)
            inputs = tuple(replace(spec, name=self.names.get(spec.name, spec.name)) for spec in graph.inputs)
            write_layer_graph(folder, replace(graph, inputs=inputs, outputs=outputs), weights)
        elif artifact.form is ArtifactForm.ONNX_FILE:
            path = rename_file(artifact.path, self.names, folder, sandbox)
        return replace(artifact, path=path, interface=interface, notes=(*artifact.notes, *self.sentences))


def naming_for(artifact: Artifact, asked: Mapping[str, str], name: str, alias: str, house: House) -> Naming:
    """Return what the tensors of a new version of `name` are to be called: as `asked`, else as those of the version at `alias`."""
    own = artifact.interface
    told = {before: public for before, public in asked.items() if before != public}
    renamed(own, told)
    if artifact.form not in _RENAMED:
        if told:
            raise SpecError(f"The tensors of a {artifact.format.value} model have fixed names.", hint="Leave out --rename.")
        return Naming()
    fixed = _fixed_inputs(artifact)
    if fixed & told.keys():
        raise SpecError(
            f"forward of this {artifact.format.value} model takes '{min(fixed & told.keys())}' by that name.",
            hint="Leave that --rename out, or export the model with torch.export.save: then its inputs go by their order.",
        )
    kept, label = _kept(own, name, alias or PRODUCTION, house)
    kept = {before: public for before, public in kept.items() if before not in {*asked, *fixed} and public not in told.values()}
    return Naming({**kept, **told}, label if kept and not told else "")


def _fixed_inputs(artifact: Artifact) -> frozenset[str]:
    """Return the inputs that a file is asked by name for: those of TorchScript and of a class of the user's, wherever it is opened."""
    is_by_name = artifact.form is ArtifactForm.TORCH_FILE and artifact.format is not SourceFormat.TORCH_EXPORTED
    return frozenset(spec.name for spec in artifact.interface.inputs) if is_by_name else frozenset()


def _kept(own: Interface, name: str, alias: str, house: House) -> tuple[dict[str, str], str]:
    """Return the live version's names for what differs by a counter only, and that version."""
    number = house.records.aliases(name).get(alias, 0)
    if not number:
        return {}, ""
    with contextlib.suppress(NotFoundError, CorruptError):  # a live version that cannot be read keeps nobody from deploying the next
        version = house.records.version(name, number)
        return kept_names(interface_of(version, house), own), version.label
    return {}, ""
