"""A tree ensemble -> model.trees, the data that the compiled kernel walks.

Takes a BuildJob, gives a RuntimeModel. Raises UnsupportedError for a model that was no tree ensemble, or whose ONNX form a pass has changed
(the kernel runs the trees as they were read), and EnvironmentalError where the kernel cannot be compiled on this machine; both before
anything is written. The kernel's sums are compared with the numpy walk's, bit for bit, on rows at the model's own thresholds.
"""

from __future__ import annotations

import shutil

import numpy as np

from fairlead._version import __version__
from fairlead.core.artifact import ArtifactForm
from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.core.interface import Array
from fairlead.core.lineage import Step
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.engines.trees_build import find_recipe, kernel
from fairlead.engines.trees_program import Program
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.security.digests import digest_file

_ROW_LIMIT = 2048  # compared: the numpy walk is slow


def build_trees(job: BuildJob) -> RuntimeModel:
    """Return model.trees in a folder of the workspace: the artifact's own trees."""
    if job.artifact.form is not ArtifactForm.TREE_ENSEMBLE:
        raise UnsupportedError(
            f"The form 'trees' holds tree ensembles; this model is a {job.artifact.form.value}.",
            hint="It takes models of XGBoost, LightGBM and CatBoost in their own files.",
        )
    if job.model != job.conversion.path:
        raise UnsupportedError(
            "The form 'trees' takes no passes: its trees are those of the file.", hint="Use the candidate without passes."
        )
    library = kernel()
    trees = read_tree_ensemble(job.artifact.path)
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
    shutil.copyfile(job.artifact.path, folder / name)
    notes = (f"the compiled kernel's sums equal those of the numpy walk on {len(rows)} rows, bit for bit",)
    versions = {"fairlead": __version__, "compiler": find_recipe().version}
    digests = digest_file(job.model), digest_file(folder / name)
    step = Step("convert", "tree_ensemble_to_kernel", *digests, versions, {"trees": trees.tree_count, "nodes": trees.node_count}, notes)
    return RuntimeModel(RuntimeForm.TREES, folder / name, {name: folder / name}, (step,))


def _rows(trees: TreeEnsemble, job: BuildJob) -> Array:
    """Rows on the model's own thresholds, spread over all of them; drawn ones where the conversion has none."""
    spec = job.conversion.interface.inputs[0]
    probes = job.conversion.probes
    if probes is not None and len(probes[spec.name]):
        rows = probes[spec.name]
        return np.asarray(rows[:: -(-len(rows) // _ROW_LIMIT)])
    drawn = np.random.default_rng(0).normal(size=(_ROW_LIMIT // 8 + 1, trees.feature_count))
    return drawn.astype(trees.compare_dtype.numpy)
