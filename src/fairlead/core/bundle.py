"""What the one file of an exported version says of it, beside its blobs. Pure values.

Law: `manifest` is the version; everything else is information, which the registry that takes the file may believe or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.core.fact import Traits
from fairlead.core.manifest import Manifest

FORMAT = 1
INDEX = "fairlead.json"
BLOBS = "blobs/"
SUFFIX = ".fairlead"


@dataclass(frozen=True)
class Bundle:
    """`name`, `number` and `aliases` are what the version was called where it was exported; `digest` is the manifest's; `created_at` is
    Unix seconds. A newer `format` is refused, keys of newer releases are ignored.
    """

    format: int
    name: str
    number: int
    digest: str
    created_at: float
    manifest: Manifest
    traits: Traits = field(default_factory=dict)
    tags: Traits = field(default_factory=dict)
    stage: str = ""
    note: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How the version was written there: `digits:3`."""
        return f"{self.name}:{self.number}"

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the archive's members, in their order: this index, then each blob once, by digest."""
        return (INDEX, *sorted({BLOBS + entry.digest for entry in self.manifest.files}))
