"""What is registered, for people and scripts: the list of models, one version with its evidence, and moving aliases.

Takes a House and references like `digits:3`; gives plain frozen values that the front doors print. Raises NotFoundError, ConflictError,
SpecError. Never changes a version.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.ensemble import Ensemble
from fairlead.core.interface import Interface
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.verdict import Verdict
from fairlead.core.version import PRODUCTION, AliasMove, Reference, Version, parse_reference
from fairlead.errors import SpecError
from fairlead.register import aliases
from fairlead.register.resolve import resolve
from fairlead.ship.stage import ship
from fairlead.stores.document import load
from fairlead.stores.durable_files import typed_errors
from fairlead.stores.version_files import materialize, read_file

_ENSEMBLE = MAIN_FILE[RuntimeForm.ENSEMBLE]


@dataclass(frozen=True)
class ModelRow:
    """One model in the list."""

    name: str
    version_count: int
    latest: int
    production: int | None
    created_at: float
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class VersionView:
    """One version with its evidence, and its steps where it is an ensemble."""

    version: Version
    aliases: tuple[str, ...]
    interface: Interface
    verdict: Verdict
    plan: Plan
    lineage: Lineage
    history: tuple[AliasMove, ...]
    report: Path
    ensemble: Ensemble | None = None


def list_models(house: House) -> tuple[ModelRow, ...]:
    """Return every model, sorted by name."""
    return tuple(_row(name, house) for name in house.records.names())


def _row(name: str, house: House) -> ModelRow:
    versions = house.records.versions(name)
    production = house.records.aliases(name).get(PRODUCTION)
    shown = house.records.version(name, production) if production else versions[-1]
    plan = load(read_file(shown, "plan.json", house.blobs), Plan)
    return ModelRow(name, len(versions), versions[-1].number, production, shown.created_at, tuple(str(item) for item in plan.requirements))


def show(reference: str, house: House) -> VersionView:
    """Return the version that `reference` names, with its evidence."""
    version = resolve(parse_reference(reference), records=house.records)
    files = materialize(version, house.blobs, house.loaded)
    pointing = tuple(sorted(alias for alias, number in house.records.aliases(version.name).items() if number == version.number))
    return VersionView(
        version,
        pointing,
        load(files["interface.json"].read_bytes(), Interface),
        load(files["verdict.json"].read_bytes(), Verdict),
        load(files["plan.json"].read_bytes(), Plan),
        load(files["lineage.json"].read_bytes(), Lineage),
        house.records.alias_history(version.name, PRODUCTION),
        files["report.html"],
        load(files[_ENSEMBLE].read_bytes(), Ensemble) if _ENSEMBLE in files else None,
    )


def report(reference: str, house: House, out: Path | None = None) -> Path:
    """Return where the page with the version's evidence lies: a copy at `out`, or the unpacked version's own file, which is never written
    to. Raises NoSpaceError, StorageError.
    """
    version = resolve(parse_reference(reference), records=house.records)
    page = materialize(version, house.blobs, house.loaded)["report.html"]
    if out is None:
        return page
    with typed_errors("the report", out.parent):
        shutil.copyfile(page, out)
    return out


def promote(reference: str, house: House, *, alias: str = PRODUCTION) -> AliasMove:
    """Point `alias` at the version that `reference` (name:number) names."""
    parsed = parse_reference(reference)
    if parsed.number is None:
        raise SpecError(
            f"'{reference}' does not say which version.", hint=f"Write it like {parsed.name}:1; see `fairlead show {parsed.name}`."
        )
    version = resolve(parsed, records=house.records)
    return aliases.promote(
        version.name, version.number, alias=alias, expected=None, reason="promote", records=house.records, clock=house.clock
    )


def rollback(name: str, house: House, *, alias: str = PRODUCTION) -> AliasMove:
    """Take `alias` back to where it pointed before."""
    resolve(Reference(name), records=house.records)  # an unknown name is said as such, with the nearest
    return aliases.rollback(name, alias=alias, records=house.records, clock=house.clock)


def export(reference: str, layout: str, folder: Path, house: House) -> Mapping[str, Path]:
    """Write the version as a folder in `layout`; return what was written by its path in it."""
    version = resolve(parse_reference(reference), records=house.records)
    files = materialize(version, house.blobs, house.loaded)
    return ship(version, files, folder, layout=layout)
