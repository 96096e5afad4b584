"""The catalogue of machines: Fairlead's own, or a user's file of the same form.

Takes the file's text, gives a core HardwareCatalogue; raises SpecError that names the offer and the key. Units stand in the keys: GB are
10^9 bytes, gflops 10^9 operations per second. What every key means: docs/reference/hardware-catalogue.md.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fairlead.app.spec import parse_as, read_text
from fairlead.core.hardware import HOURS_PER_YEAR, HardwareCatalogue, HardwareKind, HardwareOffer
from fairlead.errors import SpecError

OWN_FILE = "hardware_catalogue.yaml"
_RUNNABLE = (HardwareKind.CPU,)  # kinds on which an engine of Fairlead computes, unless an offer says otherwise
_LARGE_GB = 1e5  # more memory than any machine: bytes were written where GB belong
_OLDEST = dt.date(2000, 1, 1)
_Positive = Annotated[float, Meta(gt=0)]


class OfferSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One machine as the file says it."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: HardwareKind
    processor: str
    cores: Annotated[int, Meta(ge=1, le=4096)]
    memory_gb: Annotated[float, Meta(gt=0)]
    gflops: dict[Literal["FP32", "FP16", "INT8"], _Positive]
    bandwidth_gb_per_s: Annotated[float, Meta(gt=0)]
    price_per_hour: Annotated[float, Meta(ge=0)] | None = None
    purchase_price: Annotated[float, Meta(ge=0)] | None = None
    lifetime_years: _Positive | None = None
    power_w: Annotated[float, Meta(ge=0)] | None = None
    provider: str = ""
    region: str = ""
    currency: str | None = None
    dated: dt.date | None = None
    price_is_estimate: bool = False
    call_ms: Annotated[float, Meta(ge=0)] = 0.0
    operator_us: Annotated[float, Meta(ge=0)] = 0.0
    is_runnable: bool | None = None
    source: str = ""
    notes: list[str] = []


class CatalogueSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    dated: dt.date
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"
    electricity_per_kwh: Annotated[float, Meta(ge=0)] = 0.0
    offers: list[OfferSpec] = []


def own_catalogue() -> HardwareCatalogue:
    """Return the catalogue that comes with Fairlead."""
    text = resources.files("fairlead.plan").joinpath(OWN_FILE).read_bytes()
    return parse_catalogue(text, name="Fairlead's catalogue")


def read_catalogue(path: Path) -> HardwareCatalogue:
    """Read a user's catalogue; raises SpecError."""
    return parse_catalogue(read_text(path), name=str(path))


def parse_catalogue(text: bytes | str, *, name: str, today: dt.date | None = None) -> HardwareCatalogue:
    """Parse the text of a catalogue; raises SpecError. `today` is the day that no date may lie beyond (None: not checked)."""
    spec = parse_as(CatalogueSpec, text, name=name, start="dated: 2026-11-22", hint=_hint)
    if not spec.offers:
        raise SpecError(f"{name} offers no machine.", hint="List them under `offers:`. Start from a copy of Fairlead's own.")
    names = [offer.name for offer in spec.offers]
    doubles = [offer for number, offer in enumerate(names) if offer in names[:number]]
    if doubles:
        raise SpecError(f"{name}: the offer '{doubles[0]}' stands there twice.", hint="Give each machine a name of its own.")
    offers = tuple(_offer(offer, spec, name, today) for offer in spec.offers)
    return HardwareCatalogue(name, spec.dated.isoformat(), offers)


def _offer(offer: OfferSpec, spec: CatalogueSpec, name: str, today: dt.date | None) -> HardwareOffer:
    place = f"{name}, offer '{offer.name}'"
    _check(offer, place, today)
    dated = offer.dated or spec.dated
    return HardwareOffer(
        name=offer.name,
        kind=offer.kind,
        provider=offer.provider,
        region=offer.region,
        processor=offer.processor,
        core_count=offer.cores,
        memory_bytes=round(offer.memory_gb * 1e9),
        price_per_hour=_price(offer, spec, place),
        currency=offer.currency or spec.currency,
        dated=dated.isoformat(),
        price_is_estimate=offer.price_is_estimate,
        peak_flops_per_s={dtype: value * 1e9 for dtype, value in offer.gflops.items()},
        bandwidth_bytes_per_s=offer.bandwidth_gb_per_s * 1e9,
        call_ms=offer.call_ms,
        operator_ms=offer.operator_us / 1000.0,
        is_runnable=offer.kind in _RUNNABLE if offer.is_runnable is None else offer.is_runnable,
        source=offer.source,
        notes=tuple(offer.notes),
    )


def _check(offer: OfferSpec, place: str, today: dt.date | None) -> None:
    numbers = [offer.memory_gb, offer.bandwidth_gb_per_s, offer.call_ms, offer.operator_us, *offer.gflops.values()]
    prices = [offer.price_per_hour, offer.purchase_price, offer.lifetime_years, offer.power_w]
    if not all(math.isfinite(number) for number in [*numbers, *(price for price in prices if price is not None)]):
        raise SpecError(f"{place}: a figure is not a finite number.", hint="Leave out what is not known.")
    if not offer.gflops:
        raise SpecError(f"{place}: gflops is empty.", hint="Give the peak of at least one type: gflops: {FP32: 166}.")
    if offer.memory_gb > _LARGE_GB:
        raise SpecError(f"{place}: memory_gb is {offer.memory_gb:g}.", hint="It is in GB (10^9 bytes), not in bytes or MB.")
    if offer.currency is not None and not (len(offer.currency) == 3 and offer.currency.isalpha() and offer.currency.isupper()):
        raise SpecError(f"{place}: '{offer.currency}' is no currency.", hint="Write its three letters: USD, EUR.")
    if offer.dated is not None and (offer.dated < _OLDEST or (today is not None and offer.dated > today)):
        raise SpecError(f"{place}: a price of {offer.dated} makes no sense.", hint="`dated` is the day on which the price was seen.")


def _price(offer: OfferSpec, spec: CatalogueSpec, place: str) -> float:
    """Return the price of an hour: as rented, or what owning it costs over its life."""
    if (offer.price_per_hour is None) == (offer.purchase_price is None):
        raise SpecError(
            f"{place}: give either price_per_hour or purchase_price.",
            hint="purchase_price goes with lifetime_years, and power_w if you like.",
        )
    if offer.price_per_hour is not None:
        return offer.price_per_hour
    if offer.lifetime_years is None or offer.purchase_price is None:
        raise SpecError(f"{place}: purchase_price needs lifetime_years.", hint="Say how many years it is used: lifetime_years: 3.")
    return offer.purchase_price / (offer.lifetime_years * HOURS_PER_YEAR) + (offer.power_w or 0.0) / 1000.0 * spec.electricity_per_kwh


def _hint(plain: Mapping[str, Any]) -> str:
    if "dated" not in plain:
        return "Say on the first line when the prices were seen, like `dated: 2026-11-22`."
    return "docs/reference/hardware-catalogue.md says what each key takes."
