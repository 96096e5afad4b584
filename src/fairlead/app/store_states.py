"""Whether the stores of a shared registry can be reached: what `fairlead doctor` says of them.

Takes settings; gives StoreStates by name, none where everything is in the home folder. Changes nothing, and raises nothing for a store
that is away: that is what it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.app.doctor import StoreState
from fairlead.app.wiring import postgres_password, scheme
from fairlead.errors import FairleadError
from fairlead.settings import Settings
from fairlead.stores.catalog import BLOB_STORES, RECORD_STORES


def store_states(settings: Settings) -> dict[str, StoreState]:
    """Return how the records and the blobs are that the settings name."""
    states: dict[str, StoreState] = {}
    if settings.registry:
        states["records"] = _state(lambda: _records(settings))
    if "://" in settings.blobs:
        states["blobs"] = _state(lambda: _blobs(settings))
    elif settings.registry:
        cure = "" if settings.blobs else "they are in the home folder: other machines do not see them. Set FAIRLEAD_BLOBS."
        states["blobs"] = StoreState(settings.blobs or "in the home folder", cure=cure)
    return states


def _records(settings: Settings) -> str:
    described: str = RECORD_STORES.load(scheme(settings.registry)).describe(settings.registry, password=postgres_password())
    return described


def _blobs(settings: Settings) -> str:
    described: str = BLOB_STORES.load(scheme(settings.blobs))(settings.blobs, endpoint=settings.s3_endpoint).describe()
    return described


def _state(describe: Callable[[], str]) -> StoreState:
    try:
        return StoreState(describe())
    except FairleadError as error:
        return StoreState("", error.message, error.hint)
