"""The model card of a registered version as of now: its evidence, where it stands, what its data looked like, how it is watched.

Takes a reference and a House; gives core values for explain.card. Raises NotFoundError, CorruptError, and for slices what `load_dataset`
and `slices_of` raise. Changes nothing: the card that was registered with the version stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fairlead.app import catalogue
from fairlead.app.alert_records import kept_alerts
from fairlead.app.background import BACKGROUND_FILE
from fairlead.app.load import open_model
from fairlead.app.observing_rules import observing_of
from fairlead.app.profiling import PROFILE
from fairlead.app.registry_tags import spoken_tag, spoken_value
from fairlead.app.wiring import House
from fairlead.core.alert import AlertPhase
from fairlead.core.profile import Profile
from fairlead.core.version import Version
from fairlead.datasets.load import load_dataset
from fairlead.errors import SpecError
from fairlead.explain.card import WRITTEN, WRITTEN_PREFIX, CardFacts
from fairlead.explain.slices import Slice, slices_of
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_tensors
from fairlead.stores.version_files import materialize
from fairlead.verify.run_rows import run_in_pieces

_MOVES = 5
_DAY_S = 86_400.0


@dataclass(frozen=True)
class SliceWish:
    """Measure in parts of the rows in `data`, whose right answers are in column `target`, by each of the columns `by`."""

    data: Path
    target: str
    by: tuple[str, ...]


def card_of(reference: str, house: House, wish: SliceWish | None = None) -> CardFacts:
    """Return what the card of the version tells of."""
    view = catalogue.show(reference, house)
    files = materialize(view.version, house.blobs, house.loaded)
    profile = load(files[PROFILE].read_bytes(), Profile) if PROFILE in files else None
    slices, source = _slices(view.version, house, wish) if wish is not None else ((), "")
    return CardFacts(
        view.version.label,
        view.interface,
        view.verdict,
        view.plan,
        view.lineage,
        view.strategy,
        profile,
        tuple(_standing(view)),
        tuple(_watched(view.version, profile, house)),
        tuple(_explained(view.version, files)),
        {key: spoken_value(value) for key in WRITTEN if (value := view.written.tags.get(WRITTEN_PREFIX + key)) is not None},
        slices,
        source,
    )


def _slices(version: Version, house: House, wish: SliceWish) -> tuple[tuple[Slice, ...], str]:
    with open_model(version.label, house) as model:
        data = load_dataset(wish.data, model.interface, target=wish.target, allow_missing=True)
        if data.target is None:
            raise SpecError("Slices need right answers.", hint="Name their column: --target approved.")
        found = slices_of(model.interface, data.inputs, data.target, run_in_pieces(model.engine, data.inputs), wish.by)
    return found, f"{data.description} (sha256:{data.digest})"


def _standing(view: catalogue.VersionView) -> Iterator[str]:
    written = view.written
    yield f"Registered on {_day(view.version.created_at)}; content sha256:{view.version.digest}"
    yield f"Aliases: {', '.join(view.aliases)}" if view.aliases else "No alias points at it"
    if written.stage:
        yield f"Stage: {written.stage}"
    if written.release:
        yield f"Running: {written.release}"
    if written.publisher:
        yield f"Published by {written.publisher}"
    if written.approval is not None:
        yield f"Approved by {written.approval.approver} on {_day(written.approval.at)}"
    if written.protection is not None:
        yield f"Needs an approval: {', '.join(written.protection.aliases)}"
    for text in (written.model_note, written.note):
        if text:
            yield f"Note: {text}"
    own = {WRITTEN_PREFIX + key for key in WRITTEN}
    yield from (f"Tag {spoken_tag(key, value)}" for key, value in sorted(written.tags.items()) if key not in own)
    for move in sorted(view.history, key=lambda one: -one.sequence)[:_MOVES]:
        came = f" from {move.previous}" if move.previous else ""
        who = f", {move.author}" if move.author else ""
        yield f"On {_day(move.moved_at)} {move.alias} went{came} to {move.number} ({move.reason}{who})"


def _explained(version: Version, files: dict[str, Path]) -> Iterator[str]:
    if BACKGROUND_FILE in files:
        count = len(next(iter(read_tensors(files[BACKGROUND_FILE]).values())))
        yield f"Against {count} background rows that are kept with it: fairlead explain {version.label} --input row.json"
    else:
        yield f"It keeps no background rows: its golden requests stand for all rows (fairlead explain {version.label} --input row.json)"


def _watched(version: Version, profile: Profile | None, house: House) -> Iterator[str]:
    observing = observing_of(version.name, house)
    if observing.share > 0:
        redacted = [one.name for one in observing.columns if one.treatment != "keep"]
        hidden = f"; {len(redacted)} of {len(observing.columns)} columns not as they come" if redacted else ""
        yield f"{observing.share:.0%} of requests are kept for {observing.keep_s / _DAY_S:.0f} days{hidden}"
    else:
        yield "No requests are kept"
    yield (
        "Drift is looked for against the data that it was proven with" if profile else "Drift cannot be seen: it has no profile of its data"
    )
    firing = [kept.alert for kept in kept_alerts(house.records, version.name).values() if kept.alert.phase is AlertPhase.FIRING]
    yield from (f"Alert since {_day(alert.fired_at)}: {alert.name}: {alert.annotations.get('summary', '')}" for alert in firing)
    if not firing:
        yield "No alert of the model is firing"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
