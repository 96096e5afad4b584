"""A tree ensemble -> model.trees, the data that the compiled kernel walks.

Takes a BuildJob, gives a RuntimeModel. A booster's own trees, where no pass has touched its ONNX form; else the trees that the ONNX form
holds: after passes, and of scikit-learn's forests. Raises UnsupportedError for a model that is anything beside one tree ensemble, and
EnvironmentalError where the kernel cannot be compiled on this machine; both before anything is written. The kernel's sums are compared with
the numpy walk's, bit for bit, on rows at the model's own thresholds; where the trees were read from ONNX, its answers are compared with
ONNX Runtime's too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from fairlead._version import __version__
from fairlead.convert.onnx_to_trees import ensemble_of
from fairlead.core.artifact import ArtifactForm
from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.lineage import Step
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_ensemble_file import read_tree_ensemble, write_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import PROBABILITIES
from fairlead.engines.trees_build import find_recipe, kernel
from fairlead.engines.trees_engine import TreesEngine
from fairlead.engines.trees_program import Program
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.security.digests import digest_file

_ROW_LIMIT = 2048  # compared: the numpy walk is slow
_CLOSE = 1e-5
_TIED = 1e-9


def build_trees(job: BuildJob) -> RuntimeModel:
    """Return model.trees in a folder of the workspace."""
    if job.artifact.form not in (ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ESTIMATOR_FILE):
        raise UnsupportedError(
            f"The form 'trees' holds tree ensembles; this model is a {job.artifact.form.value}.",
            hint="It takes models of XGBoost, LightGBM and CatBoost, and scikit-learn's forests.",
        )
    is_untouched = job.artifact.form is ArtifactForm.TREE_ENSEMBLE and job.model == job.conversion.path
    trees = read_tree_ensemble(job.artifact.path) if is_untouched else ensemble_of(job)
    library = kernel()
    rows = _rows(trees, job)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = sums_of(trees, rows)
    if Program(trees, library).compute(rows).sums().tobytes() != expected.tobytes():
        raise CorruptError(
            "The compiled kernel adds these trees up otherwise than numpy does.", hint="Please report this machine's compiler."
        )
    folder = job.workspace / "trees"
    folder.mkdir(parents=True)
    name = MAIN_FILE[RuntimeForm.TREES]
    notes: tuple[str, ...] = (f"the compiled kernel's sums equal those of the numpy walk on {len(rows)} rows, bit for bit",)
    if is_untouched:
        shutil.copyfile(job.artifact.path, folder / name)
    else:
        write_tree_ensemble(folder / name, trees)
        notes = (*notes, _compared(job, folder / name, rows))
    versions = {"fairlead": __version__, "compiler": find_recipe().version}
    digests = digest_file(job.model), digest_file(folder / name)
    step = Step("convert", "tree_ensemble_to_kernel", *digests, versions, {"trees": trees.tree_count, "nodes": trees.node_count}, notes)
    return RuntimeModel(RuntimeForm.TREES, folder / name, {name: folder / name}, (step,))


def _compared(job: BuildJob, path: Path, rows: Array) -> str:
    """Say how far the kernel's answers are from ONNX Runtime's; raises UnsupportedError where they are other answers."""
    interface = job.conversion.interface
    inputs = {interface.inputs[0].name: rows.astype(interface.inputs[0].dtype.numpy)}
    wanted, given = OnnxRuntimeEngine(job.model, interface).run(inputs), TreesEngine(path, interface).run(inputs)
    largest, tied = 0.0, 0
    for spec in interface.outputs:
        if spec.dtype.is_float:
            room = np.maximum(np.abs(wanted[spec.name]), 1.0)
            largest = max(largest, float((np.abs(given[spec.name] - wanted[spec.name]) / room).max()))
        else:
            tied += _tied_rows(wanted, given[spec.name], spec.name, interface)
    if not largest <= _CLOSE:
        raise UnsupportedError(f"The compiled kernel answers otherwise than ONNX Runtime: {largest:.2g} apart.", hint="Run it as ONNX.")
    labels = f"in {tied} labels of rows whose classes tie" if tied else "in no label"
    return f"its answers differ from ONNX Runtime's by {largest:.1g} at most, and {labels}"


def _tied_rows(wanted: Tensors, labels: Array, name: str, interface: Interface) -> int:
    """Count the rows with another label; raises UnsupportedError unless the two classes have the same probability there."""
    rows = np.flatnonzero(labels != wanted[name])
    if not rows.size:
        return 0
    places = {label: place for place, label in enumerate(interface.labels)}
    shares = wanted.get(PROBABILITIES)
    if shares is not None:
        lost = [shares[row].max() - shares[row, places.get(labels[row], int(labels[row]) if not places else 0)] for row in rows]
        if max(lost) <= _TIED:
            return len(rows)
    raise UnsupportedError("The compiled kernel decides some rows otherwise than ONNX Runtime does.", hint="Run it as ONNX.")


def _rows(trees: TreeEnsemble, job: BuildJob) -> Array:
    """Rows on the model's own thresholds, spread over all of them; drawn ones where the conversion has none."""
    spec = job.conversion.interface.inputs[0]
    probes = job.conversion.probes
    if probes is not None and len(probes[spec.name]):
        rows = probes[spec.name]
        return np.asarray(rows[:: -(-len(rows) // _ROW_LIMIT)])
    drawn = np.random.default_rng(0).normal(size=(_ROW_LIMIT // 8 + 1, trees.feature_count))
    return drawn.astype(trees.compare_dtype.numpy)
