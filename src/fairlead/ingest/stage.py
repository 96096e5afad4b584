"""Step 1, the door: any model file -> Artifact. The file is copied once, known by its content, and opened in the sandbox only.

Takes the user's path and a workspace of its own; gives an Artifact whose files lie in that workspace. Raises SourceError,
UnsafeContentError, UnsupportedError, MissingExtraError and SandboxError with what to do next. Never opens foreign bytes in this process
beyond what `ingest.sniff` says, and believes nothing that comes back.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat, SourceOptions
from fairlead.core.interface import Interface
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.layer_graph_file import read_layer_graph
from fairlead.errors import CorruptError, MissingExtraError, UnsupportedError
from fairlead.ingest.answers import ReaderAnswer, check_interface, parse_answer, written_path
from fairlead.ingest.keras_interface import decide
from fairlead.ingest.reading import ReadJob, read
from fairlead.ingest.taking import take_source

# The form is the user's own file: nothing data-only was made of it.
_SNAPSHOT_FORMS = {
    ArtifactForm.KERAS_FILE,
    ArtifactForm.ESTIMATOR_FILE,
    ArtifactForm.BOOSTER_FILE,
    ArtifactForm.TORCH_FILE,
    ArtifactForm.SAVED_MODEL,
    ArtifactForm.TFLITE_FILE,
}
_KERAS_MEMORY_BYTES = 32 * 2**30  # address space: JAX and PyTorch reserve far more than they use


def ingest(source: Path, workspace: Path, *, sandbox: Sandbox, options: SourceOptions | None = None) -> Artifact:
    """Read the model file or folder `source`. 1. Copy it while its digest is taken. 2. Tell its format from the bytes. 3. Read the copy
    in the sandbox. 4. Check what came back.
    """
    options = options or SourceOptions()
    taken = take_source(source, workspace / "source", workspace, sandbox)
    snapshot, source_format = taken.snapshot, taken.format
    scratch = workspace / "read"
    if taken.mlflow is not None and taken.mlflow.signature is not None and not options.inputs:
        options = replace(options, inputs=taken.mlflow.signature.input_specs())
    answer = read(ReadJob(snapshot, source_format, taken.read_entries, scratch, options), sandbox)
    interface = answer.interface
    if interface is None:
        interface = _ask_keras(answer, snapshot, source_format, workspace / "keras", sandbox)
    path = written_path(scratch, answer.file) if answer.file else snapshot
    _check_form(answer.form, path, snapshot, interface)
    interface, told = (interface, ()) if taken.mlflow is None else taken.mlflow.describe(interface)
    return Artifact(
        source_format,
        answer.form,
        path,
        snapshot,
        taken.manifest,
        answer.framework,
        interface,
        answer.facts,
        (*told, *answer.notes, *((f"left to Keras: {answer.problem}",) if answer.problem else ())),
        options,
        {} if taken.mlflow is None else taken.mlflow.attachments,
    )


def _ask_keras(answer: ReaderAnswer, snapshot: Path, source_format: SourceFormat, scratch: Path, sandbox: Sandbox) -> Interface:
    """Let Keras itself say what a model takes and gives, where our reader had to leave it; only after our own gate let it pass."""
    job = SandboxJob(
        "fairlead.engines.keras_worker:describe_in_sandbox",
        scratch,
        {"path": str(snapshot), "format": source_format.value},
        (snapshot.parent,),
        SandboxLimits(memory_bytes=_KERAS_MEMORY_BYTES),
    )
    try:
        described = parse_answer(sandbox.run(job)).interface
    except (MissingExtraError, UnsupportedError) as error:
        raise UnsupportedError(answer.problem, hint=error.hint) from error
    if described is None:
        raise CorruptError("The import worker did not say what the model takes.", hint="Save the model again.")
    if len(described.outputs) != 1:
        return described
    task, decision = decide(described.outputs[0], answer.activation, answer.loss)
    return replace(described, task=task, decision=decision)


def _check_form(form: ArtifactForm, path: Path, snapshot: Path, interface: Interface) -> None:
    check_interface(interface)
    if (form in _SNAPSHOT_FORMS) != (path == snapshot):
        raise CorruptError("The import worker's answer names the wrong file.", hint="Save the model again.")
    if form is ArtifactForm.LAYER_GRAPH:
        graph, _ = read_layer_graph(path)
        if graph.inputs != interface.inputs or [name for name, _ in graph.outputs] != [spec.name for spec in interface.outputs]:
            raise CorruptError("The model's graph and its interface differ.", hint="Save the model again.")
