"""The model card of a registered version as of now: its evidence, where it stands, what its data looked like.

Takes a reference and a House; gives core values for explain.card. Raises NotFoundError, CorruptError. Changes nothing: the card that was
registered with the version stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.app import catalogue
from fairlead.app.profiling import PROFILE
from fairlead.app.wiring import House
from fairlead.core.profile import Profile
from fairlead.explain.card import CardFacts
from fairlead.stores.document import load
from fairlead.stores.version_files import materialize


def card_of(reference: str, house: House) -> CardFacts:
    """Return what the card of the version tells of."""
    view = catalogue.show(reference, house)
    files = materialize(view.version, house.blobs, house.loaded)
    return CardFacts(
        view.version.label,
        view.interface,
        view.verdict,
        view.plan,
        view.lineage,
        view.strategy,
        load(files[PROFILE].read_bytes(), Profile) if PROFILE in files else None,
        tuple(_standing(view)),
    )


def _standing(view: catalogue.VersionView) -> Iterator[str]:
    written = view.written
    yield f"Aliases: {', '.join(view.aliases)}" if view.aliases else "No alias points at it"
    if written.stage:
        yield f"Stage: {written.stage}"
    if written.release:
        yield f"Running: {written.release}"
    if written.publisher:
        yield f"Published by {written.publisher}"
    if written.approval is not None:
        yield f"Approved by {written.approval.approver}"
    for text in (written.model_note, written.note):
        if text:
            yield f"Note: {text}"
    yield from (f"Tag {key}: {value}" for key, value in sorted(written.tags.items()))
