"""The catalogue of machines: Fairlead's own can be read whole, and a user's file is refused with the offer, the key and the cure."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.hardware_file import own_catalogue, parse_catalogue, read_catalogue
from fairlead.core.hardware import HOURS_PER_YEAR, HardwareKind
from fairlead.errors import SpecError

OFFER = "{name: a, kind: cpu, processor: x, cores: 2, memory_gb: 4, gflops: {FP32: 100}, bandwidth_gb_per_s: 10, price_per_hour: 0.1}"


MAPPINGS = functools.partial(st.dictionaries, st.sampled_from(["dated", "currency", "offers", "name", "gflops", "cores", "FP32"]))


def whole(offer: str = OFFER, head: str = "dated: 2026-11-22") -> str:
    return f"{head}\noffers:\n  - {offer}\n"


def test_the_own_catalogue_has_every_kind_and_says_when_each_price_was_seen() -> None:
    catalogue = own_catalogue()
    assert {offer.kind for offer in catalogue.offers} == set(HardwareKind)
    today = dt.date.fromisoformat(catalogue.dated)
    for offer in catalogue.offers:
        assert dt.date.fromisoformat(offer.dated) <= today
        assert offer.price_per_hour > 0
        assert offer.price_is_estimate or offer.source, f"{offer.name}: a price that is no estimate says where it was seen"
        assert offer.is_runnable or offer.kind is not HardwareKind.CPU
        assert offer.kind in (HardwareKind.CPU, HardwareKind.EDGE) or offer.call_ms > 0


def test_units_are_those_of_the_keys() -> None:
    (offer,) = parse_catalogue(whole(), name="m.yaml").offers
    assert (offer.memory_bytes, offer.peak_flops_per_s, offer.bandwidth_bytes_per_s) == (4_000_000_000, {"FP32": 1e11}, 1e10)
    assert (offer.price_per_hour, offer.currency, offer.dated, offer.is_runnable) == (0.1, "USD", "2026-11-22", True)


def test_a_bought_machine_costs_its_share_and_its_electricity() -> None:
    bought = OFFER.replace("price_per_hour: 0.1", "purchase_price: 876.6, lifetime_years: 2, power_w: 10")
    (offer,) = parse_catalogue(whole(bought, "dated: 2026-11-22\nelectricity_per_kwh: 0.2"), name="m.yaml").offers
    assert offer.price_per_hour == pytest.approx(876.6 / (2 * HOURS_PER_YEAR) + 0.002)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "machines.yaml"
    path.write_text(whole())
    assert read_catalogue(path).offers[0].name == "a"
    with pytest.raises(SpecError, match="Cannot read"):
        read_catalogue(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (whole(head="currency: USD"), "dated: 2026-11-22"),
        ("dated: 2026-11-22", "offers no machine"),
        (whole(head="dated: yesterday"), "dated"),
        (whole(OFFER.replace("0.1}", "-1}")), "price_per_hour"),
        (whole(OFFER.replace("cores: 2", "cores: 0")), "cores"),
        (whole(OFFER.replace("kind: cpu", "kind: abacus")), "Known: cpu, gpu, tpu, edge."),
        (whole(OFFER.replace("memory_gb", "memory_bg")), "Did you mean 'memory_gb'?"),
        (whole(OFFER.replace("memory_gb: 4", "memory_gb: 4000000000")), "not in bytes"),
        (whole(OFFER.replace("memory_gb: 4", "memory_gb: .inf")), "not a finite number"),
        (whole(OFFER.replace("{FP32: 100}", "{}")), "gflops is empty"),
        (whole(OFFER.replace("{FP32: 100}", "{FP31: 100}")), "FP31"),
        (whole(OFFER.replace("price_per_hour: 0.1", "power_w: 5")), "either price_per_hour or purchase_price"),
        (whole(OFFER.replace("0.1}", "0.1, purchase_price: 5}")), "either price_per_hour or purchase_price"),
        (whole(OFFER.replace("price_per_hour: 0.1", "purchase_price: 5")), "lifetime_years"),
        (whole(OFFER.replace("0.1}", "0.1, currency: euro}")), "three letters"),
        (whole(OFFER.replace("0.1}", "0.1, dated: 1970-01-01}")), "makes no sense"),
        (whole(OFFER) + f"  - {OFFER}\n", "stands there twice"),
        ("- a", "holds a list"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_cure(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_catalogue(text, name="m.yaml")
    assert said in str(caught.value)
    assert caught.value.hint


@given(
    st.text() | st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner) | MAPPINGS(inner))
)
def test_any_text_and_any_tree_is_a_catalogue_or_a_spec_error(plain: object) -> None:
    text = plain if isinstance(plain, str) else yaml.safe_dump(plain)
    with contextlib.suppress(SpecError):
        parse_catalogue(text, name="m.yaml")


def test_a_price_of_tomorrow_is_refused() -> None:
    text = whole(OFFER.replace("0.1}", "0.1, dated: 2026-11-23}"))
    assert parse_catalogue(text, name="m.yaml", today=dt.date(2026, 11, 23)).offers
    with pytest.raises(SpecError, match="2026-11-23"):
        parse_catalogue(text, name="m.yaml", today=dt.date(2026, 11, 22))
