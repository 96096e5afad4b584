"""Step 10: a registered version as a folder that other servers take.

Takes a version, its files as they lie on this machine, and a folder to write into; gives what was written, by its path in the folder.
Raises UnsupportedError for an unknown layout, SpecError where something is in the way. It changes nothing that is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairlead.core.interface import Interface
from fairlead.core.version import Version
from fairlead.errors import SpecError
from fairlead.ship.catalog import LAYOUTS, Shipment
from fairlead.stores.document import load


def ship(version: Version, files: Mapping[str, Path], folder: Path, *, layout: str = "open-inference") -> dict[str, Path]:
    """Write `version` into `folder` in `layout` (a name of ship.catalog) and return path in the layout -> written file."""
    write = LAYOUTS.load(layout)
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"'{folder.name}' is a file.", hint="Name a folder to write into.")
    interface = load(files["interface.json"].read_bytes(), Interface)
    written: dict[str, Path] = write(Shipment(version, files, interface), folder)
    return written
