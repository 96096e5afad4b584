"""Which engine answers for the original: its own framework where it is installed and opens the file, otherwise the reader's evaluation.

Takes an Artifact, gives an Engine; its `note` says, once it has run, why the answer is not the framework's own. Raises MissingExtraError
where nothing on this machine can run the original.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine, Sandbox
from fairlead.engines.catalog import REFERENCES
from fairlead.errors import FairleadError, MissingExtraError, SandboxError, UnsupportedError
from fairlead.verify.run_rows import count_rows

# The library that trained the model, where our own evaluation can stand in for it.
_LIBRARIES = {
    SourceFormat.KERAS_H5: "keras",
    SourceFormat.KERAS_ZIP: "keras",
    SourceFormat.XGBOOST_JSON: "xgboost",
    SourceFormat.XGBOOST_UBJ: "xgboost",
    SourceFormat.LIGHTGBM_TEXT: "lightgbm",
    SourceFormat.CATBOOST_CBM: "catboost",
}
_KEPT = 4  # answers to different rows: a search asks for those that choose, a verdict for its own and for some with parts hidden
_PREPARED_BYTES = 2**28
# What the framework may say that does not mean that the model is bad: it is not here, does not open this file, or dies of it.
_CANNOT_RUN = (MissingExtraError, UnsupportedError, SandboxError)


class Reference:
    """Answers for the original by the first of `openers` that can; `note` is why an earlier one could not ("" if the first did)."""

    def __init__(self, interface: Interface, openers: Sequence[Callable[[], Engine]]) -> None:
        self._interface = interface
        self._openers = list(openers)
        self._engine: Engine | None = None
        self._answered: dict[bytes, dict[str, Array]] = {}
        self.note = ""

    @property
    def interface(self) -> Interface:
        """What the original takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What answers, with version; known once it has run."""
        return self._engine.description if self._engine is not None else "the original"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the original's outputs; see core.ports.Engine for the errors. The same rows are not asked for twice: each candidate is
        compared on them, and the original may take seconds to start.
        """
        key = _key(inputs, outputs)
        found = self._answered.pop(key, None) or self._ask(inputs, outputs)
        self._keep(key, found)
        return dict(found)

    def prepare(self, batches: Sequence[Tensors]) -> None:
        """Ask for all these rows at once, where that is not much: what is asked of them later is known then."""
        names = [spec.name for spec in self._interface.inputs]
        counts = [count_rows(batch) for batch in batches]
        if len(batches) > _KEPT or sum(tensor.nbytes for batch in batches for tensor in batch.values()) > _PREPARED_BYTES:
            return
        answers = self._ask({name: np.concatenate([batch[name] for batch in batches]) for name in names}, ())
        ends = np.cumsum(counts)
        for batch, count, end in zip(batches, counts, ends, strict=True):
            self._keep(_key(batch, ()), {name: tensor[end - count : end] for name, tensor in answers.items()})

    def _keep(self, key: bytes, answers: dict[str, Array]) -> None:
        self._answered[key] = answers
        while len(self._answered) > _KEPT:
            self._answered.pop(next(iter(self._answered)))

    def _ask(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        while True:
            try:
                if self._engine is None:
                    self._engine = self._openers.pop(0)()
                return self._engine.run(inputs, outputs)
            except _CANNOT_RUN as error:
                if not self._openers:
                    raise
                self._turn_to_the_next(error)

    def close(self) -> None:
        """Give back what the engine holds. Idempotent."""
        if self._engine is not None:
            self._engine.close()

    def _turn_to_the_next(self, error: FairleadError) -> None:
        self.close()
        self._engine = None
        self.note = f"compared with Fairlead's own evaluation of the model, not with the framework: {error.message}"


def _key(inputs: Tensors, outputs: Sequence[str]) -> bytes:
    """Return a digest of names, types, shapes and values."""
    hasher = hashlib.sha256(repr((sorted(inputs), list(outputs))).encode())
    for name in sorted(inputs):
        tensor = inputs[name]
        hasher.update(f"{tensor.dtype.str}{tensor.shape}".encode())
        hasher.update(repr(tensor.tolist()).encode() if tensor.dtype.kind == "O" else np.ascontiguousarray(tensor).tobytes())
    return hasher.digest()


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> Reference:
    """Return what answers for the original. Nothing is started before it is asked."""

    def opener(name: str) -> Callable[[], Engine]:
        def open_engine() -> Engine:
            engine: Engine = REFERENCES.load(name)(artifact, scratch / name, sandbox)
            return engine

        return open_engine

    library = _LIBRARIES.get(artifact.format)
    own = artifact.form in (ArtifactForm.LAYER_GRAPH, ArtifactForm.TREE_ENSEMBLE)
    names = [library, artifact.form.value] if own and library else [artifact.form.value]
    if artifact.form is ArtifactForm.BOOSTER_FILE and library:  # nothing of ours can stand in for the library here
        names = [library]
    return Reference(artifact.interface, [opener(name) for name in names])
