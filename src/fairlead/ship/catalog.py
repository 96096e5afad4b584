"""The index of layouts: name -> function(Shipment, folder) -> path in the layout by file. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.catalog import Catalog, Variant
from fairlead.core.interface import Interface
from fairlead.core.version import Version


@dataclass(frozen=True)
class Shipment:
    """A version to lay out: its files by name, as they lie on this machine, and its interface."""

    version: Version
    files: Mapping[str, Path]
    interface: Interface = field(repr=False)


LAYOUTS = Catalog(
    kind="layout",
    group="fairlead.layouts",
    variants={
        "open-inference": Variant("fairlead.ship.open_inference:write_open_inference"),
        "mlflow": Variant("fairlead.ship.mlflow_layout:write_mlflow"),
    },
)
