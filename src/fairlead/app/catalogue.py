"""What is registered, for people and scripts: the lists of models and versions, one version with its evidence.

Takes a House and references like `digits:3`; gives plain frozen values that the front doors print. Raises NotFoundError, ConflictError,
SpecError. Never changes a version.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.app.registry_tags import NOTE, read_note, split_tags
from fairlead.app.registry_traits import catch_up
from fairlead.app.wiring import House
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.ensemble import Ensemble
from fairlead.core.fact import Retirement, Traits
from fairlead.core.interface import Interface
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.query import Hit, Query, Term
from fairlead.core.strategy import Strategy
from fairlead.core.traits import PROMISE, PUBLISHER
from fairlead.core.verdict import Verdict
from fairlead.core.version import PRODUCTION, AliasMove, Version, check_name, parse_reference
from fairlead.register.approval import MODEL, Approval, Protection, approval_of, protection
from fairlead.register.promotion import current, describe, running
from fairlead.register.resolve import require_name, resolve
from fairlead.ship.stage import ship
from fairlead.stores.document import load
from fairlead.stores.durable_files import typed_errors
from fairlead.stores.version_files import materialize

_ENSEMBLE = MAIN_FILE[RuntimeForm.ENSEMBLE]
_STRATEGY = "strategy.json"
_EVERY = 1_000_000


@dataclass(frozen=True)
class ModelRow:
    """One model in the list. `production` is the number that production points at, None where it points nowhere; `release` says what is
    running ("": nothing), `note` what the model is.
    """

    name: str
    version_count: int
    latest: int
    production: int | None
    created_at: float
    requirements: tuple[str, ...]
    aliases: Mapping[str, int] = field(default_factory=dict)
    release: str = ""
    note: str = ""
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionRow:
    """One version in the list of a model."""

    version: str
    created_at: float
    aliases: tuple[str, ...]
    stage: str
    tags: Mapping[str, str | float]
    traits: Traits


@dataclass(frozen=True)
class Written:
    """What people wrote on a version and on its model, and what is going on there."""

    tags: Mapping[str, str | float]
    stage: str
    note: str
    model_note: str
    publisher: str
    protection: Protection | None
    approval: Approval | None
    release: str
    retired: tuple[Retirement, ...]


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
    written: Written
    ensemble: Ensemble | None = None
    strategy: Strategy | None = None


def list_models(house: House) -> tuple[ModelRow, ...]:
    """Return every model, sorted by name."""
    catch_up(house)
    records = house.records
    live = {hit.name: hit for hit in records.find(Query((Term("alias", "=", PRODUCTION),)), limit=_EVERY)}
    notes = {fact.key: fact for fact in records.facts(NOTE) if ":" not in fact.key}
    releases = {kept.release.name: describe(kept.release) for kept in running(records)}
    guarded = {fact.key: load(fact.body.encode(), Protection) for fact in records.facts(MODEL) if fact.body is not None}
    rows = []
    for summary in records.summaries():
        shown = live.get(summary.name) or _hit(summary.name, summary.latest, house)
        promise = str(shown.traits.get(PROMISE, "")) if shown is not None else ""
        note = notes.get(summary.name)
        rows.append(
            ModelRow(
                summary.name,
                summary.version_count,
                summary.latest,
                summary.aliases.get(PRODUCTION),
                shown.created_at if shown is not None else 0.0,
                tuple(filter(None, promise.split(", "))),
                summary.aliases,
                releases.get(summary.name, ""),
                load(note.body.encode(), str) if note is not None and note.body is not None else "",
                guarded[summary.name].aliases if summary.name in guarded else (),
            )
        )
    return tuple(rows)


def list_versions(name: str, house: House, *, limit: int = 20) -> tuple[VersionRow, ...]:
    """Return the newest `limit` versions of a model, newest first."""
    require_name(check_name(name), records=house.records)
    catch_up(house)
    latest = house.records.latest(name)
    newest, span = (latest.number if latest is not None else 0), limit
    while True:
        hits = house.records.find(Query((Term("name", "=", name), Term("number", ">", float(newest - span)))), limit=span)
        if len(hits) >= limit or span >= newest:
            return tuple(_version_row(hit) for hit in reversed(hits[-limit:]))
        span *= 4  # many between are retired


def _version_row(hit: Hit) -> VersionRow:
    tags, stage = split_tags(hit.traits)
    return VersionRow(
        hit.label, hit.created_at, hit.aliases, stage, tags, {key: value for key, value in hit.traits.items() if ":" not in key}
    )


def _hit(name: str, number: int, house: House) -> Hit | None:
    found = house.records.find(Query((Term("name", "=", name), Term("number", "=", float(number)))), limit=1)
    return found[0] if found else None


def show(reference: str, house: House) -> VersionView:
    """Return the version that `reference` names, with its evidence and what people wrote on it."""
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
        written(version, house),
        load(files[_ENSEMBLE].read_bytes(), Ensemble) if _ENSEMBLE in files else None,
        load(files[_STRATEGY].read_bytes(), Strategy) if _STRATEGY in files else None,
    )


def written(version: Version, house: House) -> Written:
    """Return what is said of the version beside its content."""
    records = house.records
    traits = records.traits(version.name, version.number)
    tags, stage = split_tags(traits)
    kept = current(version.name, records=records)
    return Written(
        tags,
        stage,
        read_note(version.label, house).text,
        read_note(version.name, house).text,
        str(traits.get(PUBLISHER, "")),
        protection(version.name, records=records),
        approval_of(version, records=records),
        describe(kept.release) if kept is not None and kept.release.is_active else "",
        records.retired(version.name),
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


def export(reference: str, layout: str, folder: Path, house: House) -> Mapping[str, Path]:
    """Write the version as a folder in `layout`; return what was written by its path in it."""
    version = resolve(parse_reference(reference), records=house.records)
    files = materialize(version, house.blobs, house.loaded)
    return ship(version, files, folder, layout=layout)
