"""A registered version and the aliases that point at versions. Pure values, and the rule for names.

Law: a version never changes; only aliases move, and every move is kept.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from fairlead.core.manifest import Manifest
from fairlead.errors import SpecError

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,127}$")
_ALIAS = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")
PRODUCTION = "production"


@dataclass(frozen=True)
class Version:
    """`name:number` with its content. `manifest` lists its files (blobs by digest): model.onnx, interface.json, verdict.json,
    lineage.json, plan.json, golden.npz, report.html, card.md. `created_at` is Unix seconds (UTC).
    """

    name: str
    number: int
    manifest: Manifest
    created_at: float

    @property
    def digest(self) -> str:
        """The content's identity: the manifest's digest."""
        return self.manifest.digest

    @property
    def label(self) -> str:
        """How a person writes it: `digits:3`."""
        return f"{self.name}:{self.number}"


@dataclass(frozen=True)
class AliasMove:
    """One entry of an alias's history: at `moved_at` (Unix seconds) it went from version number `previous` (0: none) to `number`.

    `sequence` orders moves across all names and is never reused. `reason` is deploy, promote, rollback or the kind of a release; `author`
    says who moved it ("gate": the gate of a release; "": before authors were kept).
    """

    name: str
    alias: str
    number: int
    previous: int
    moved_at: float
    sequence: int
    reason: str
    author: str = ""


@dataclass(frozen=True)
class Reference:
    """What a person writes to name a version: `digits`, `digits:3` or `digits@production`. At most one of number and alias is set."""

    name: str
    number: int | None = None
    alias: str | None = None


def check_name(name: str) -> str:
    """Return `name` if it can name a model; raises SpecError. Names never become paths."""
    if unicodedata.normalize("NFC", name) != name or not _NAME.fullmatch(name):
        raise SpecError(
            f"'{name[:64]!s}' cannot name a model." if name.isprintable() else "That cannot name a model.",
            hint="Use lower-case letters, digits, '.', '_' and '-', at most 128, starting with a letter or digit.",
        )
    return name


def check_alias(alias: str) -> str:
    """Return `alias` if it can name an alias; raises SpecError."""
    if not _ALIAS.fullmatch(alias):
        raise SpecError(f"{alias[:64]!r} is not an alias.", hint="Write it like digits@production.")
    return alias


def parse_reference(text: str) -> Reference:
    """Parse `name`, `name:number` or `name@alias`; raises SpecError."""
    if "@" in text:
        name, _, alias = text.partition("@")
        return Reference(check_name(name), alias=check_alias(alias))
    name, colon, number = text.partition(":")
    if not colon:
        return Reference(check_name(name))
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise SpecError(f"'{number[:64]}' is not a version number.", hint="Write it like digits:3.")
    return Reference(check_name(name), number=int(number))
