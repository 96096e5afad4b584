"""The index of passes: name -> function(source: Path, destination: Path) -> PassResult. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.catalog import Catalog, Variant


@dataclass(frozen=True)
class PassResult:
    """What a pass did: `versions` of the libraries it used, plain `parameters`, and sentences for the report."""

    versions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


PASSES = Catalog(
    kind="pass", group="fairlead.passes", variants={"clean_graph": Variant("fairlead.optimize.passes.clean_graph:clean_graph")}
)
