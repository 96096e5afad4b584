"""Which version a request's head pins it to, and what is said where a version is not there.

Takes a model of the table; gives a number, or the error to raise. Raises NotFoundError for an arm that there is not, RequestError where a
path and a head name two versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.core.interface import shorten
from fairlead.core.traffic import LIVE
from fairlead.errors import FairleadError, NotFoundError, RequestError, UnavailableError
from fairlead.serve.traffic_pins import Pin

if TYPE_CHECKING:
    from fairlead.serve.model_table import ServedModel


def pinned(model: ServedModel, number: int | None, pin: Pin) -> int | None:
    """Return the number that a request is pinned to; None for the default. Raises where it contradicts the one that the path names."""
    found: int | None = pin.number
    if pin.arm:
        found = None if model.split is None else model.split.number_of(pin.arm)
        if found is None and pin.arm == LIVE:
            found = model.default
        if found is None:
            said = f"No release of model '{model.name}' with an arm '{shorten(pin.arm)}' runs here."
            raise NotFoundError(said, hint="Leave Fairlead-Arm out.")
    if number not in {None, found}:
        raise RequestError(f"The request names version {number} and, in its head, version {found}.", hint="Name one of them.")
    return found


def why_absent(model: ServedModel, number: int | None) -> FairleadError:
    """Return the error for a request to a version that is not loaded; None means the one that answers by default."""
    number = model.default or max(model.absent, default=0) if number is None else number
    state = model.absent.get(number)
    if state is None:
        loaded = ", ".join(str(item) for item in sorted(model.versions)) or "none"
        return NotFoundError(f"Version {number} of model '{model.name}' is not loaded here.", hint=f"Loaded: {loaded}.")
    if state.is_loading:
        return UnavailableError(f"Model '{model.name}' is loading.", hint="Ask again in a moment.")
    return UnavailableError(f"Version {state.number} of model '{model.name}' could not be loaded ({state.code}).")
