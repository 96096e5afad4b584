"""What helps to explain a registered version, found in its files: background rows, its trees, its gradient.

Takes a version, its files' readers and its interface; gives `Aids`. Trees come from the file for the compiled kernel, or are read from the
version's ONNX graph where that is one ensemble and nothing else. Raises CorruptError, and MissingExtraError where a gradient is asked for
without PyTorch. Opens only what Fairlead itself wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.background import Background, read_background
from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.explanation import Subject
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.plan import Candidate
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.core.version import Version
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.errors import MissingExtraError, UnsupportedError
from fairlead.explain.explain_job import Gradient
from fairlead.stores.document import load
from fairlead.stores.version_files import materialize

_LARGEST_GRAPH = 256 * 2**20  # bytes of a graph that is read to see whether it is trees


@dataclass(frozen=True)
class Aids:
    """`trees` are None for a model that is something else; `graph` is the version's ONNX file, where it has one."""

    background: Background
    trees: TreeEnsemble | None = None
    graph: Path | None = None


def read_aids(version: Version, interface: Interface, house: House) -> Aids:
    """Return what is there; `version` must be opened, so that its files stay."""
    return aids_of(materialize(version, house.blobs, house.loaded), interface)


def aids_of(files: Mapping[str, Path], interface: Interface) -> Aids:
    """Return what is there among the files of a version."""
    form = RuntimeForm(load(files["engine.json"].read_bytes(), Candidate).form)
    graph = files.get(MAIN_FILE[RuntimeForm.ONNX])
    return Aids(read_background(files, interface), _trees(files, form, interface), graph)


def _trees(files: Mapping[str, Path], form: RuntimeForm, interface: Interface) -> TreeEnsemble | None:
    if form is RuntimeForm.TREES:
        return read_tree_ensemble(files[MAIN_FILE[form]])
    if form is not RuntimeForm.ONNX or files[MAIN_FILE[form]].stat().st_size > _LARGEST_GRAPH:
        return None
    from fairlead.convert.onnx_to_trees import read_ensemble  # noqa: PLC0415 - it brings onnx, which a server needs for nothing else

    try:
        return read_ensemble(files[MAIN_FILE[form]], interface)
    except UnsupportedError:  # it is another model, or more than trees: explained by asking it
        return None


def gradient_of(graph: Path | None) -> Gradient:
    """Return the gradient of the network in an ONNX file."""
    if graph is None:
        raise UnsupportedError("This version has no ONNX graph, so there is no gradient of it.", hint="Leave --method out.")
    try:
        import torch  # noqa: PLC0415 - an extra, and slow to load: only for this method

        from fairlead.optimize.training.network import network_of  # noqa: PLC0415 - likewise
        from fairlead.optimize.training.prepare import trainable_copy  # noqa: PLC0415 - likewise
    except ImportError:
        raise MissingExtraError("torch", needed_for="The method 'gradients'") from None
    network = network_of(trainable_copy(graph))

    def gradient(rows: Tensors, subject: Subject) -> tuple[Array, dict[str, Array]]:
        given = {name: torch.from_numpy(tensor.copy()).requires_grad_() for name, tensor in rows.items()}
        if subject.output not in network.outputs:
            raise UnsupportedError(f"The output '{subject.output}' has no gradient.", hint="Leave --method out.")
        answer = network.forward(given, (subject.output,))[subject.output]
        chosen = answer.reshape(len(answer), -1)[:, subject.column]
        slopes = torch.autograd.grad(chosen.sum(), list(given.values()), allow_unused=True)
        found = {
            name: (torch.zeros_like(tensor) if slope is None else slope).numpy()
            for (name, tensor), slope in zip(given.items(), slopes, strict=True)
        }
        return chosen.detach().numpy(), found

    return gradient
