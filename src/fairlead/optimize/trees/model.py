"""A model with trees, opened for a pass: its sites, and the file that the changed trees are written into.

Takes a path of canonical ONNX, gives the graph and its sites; writes equal bytes for equal trees. Raises UnsupportedError where there are
no trees, or none in a form that can be changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_sites import Site, find_sites, write_site
from fairlead.engines.tree_vectors import with_vector_leaves
from fairlead.errors import UnsupportedError
from fairlead.optimize.offline_session import write
from fairlead.optimize.trees.shape import leaf_count


@dataclass(frozen=True)
class TreeModel:
    """`graph_model` is the whole model; `sites` are where it adds up trees, at least one."""

    graph_model: Any
    sites: tuple[Site, ...]

    @property
    def trees(self) -> tuple[TreeEnsemble, ...]:
        """The ensembles of the sites."""
        return tuple(site.trees for site in self.sites)


def open_model(path: Path) -> TreeModel:
    """Return the model at `path` with its sites; trees that come once per output are one each."""
    model = onnx.load_model(path)
    sites = find_sites(model)
    if not sites:
        raise UnsupportedError("The model has no tree ensembles.", hint="Leave the passes for trees out for this model.")
    return TreeModel(model, tuple(replace(site, trees=with_vector_leaves(site.trees)) for site in sites))


def only_site(model: TreeModel) -> Site:
    """Return the model's only site; raises UnsupportedError where there are several, whose sums are joined in ways that are not known."""
    if len(model.sites) > 1:
        raise UnsupportedError(
            f"The model joins {len(model.sites)} ensembles, and what each adds to an answer is not known.",
            hint="Use the passes that keep every answer: merge_splits.",
        )
    return model.sites[0]


def write_model(model: TreeModel, trees: Sequence[TreeEnsemble], destination: Path) -> None:
    """Write the model with `trees` in the place of its own, site by site."""
    for site, changed in zip(model.sites, trees, strict=True):
        if changed is not site.trees:
            write_site(model.graph_model, site, changed)
    write(model.graph_model, destination)


def counted(before: Sequence[TreeEnsemble], after: Sequence[TreeEnsemble]) -> str:
    """Say how many trees and leaves became how many."""
    trees = sum(item.tree_count for item in before), sum(item.tree_count for item in after)
    leaves = sum(map(leaf_count, before)), sum(map(leaf_count, after))
    return f"{trees[0]:,} trees became {trees[1]:,}, {leaves[0]:,} leaves became {leaves[1]:,}"
