"""A promise before any candidate was made: kept, missed, open, or impossible for certain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.outlook import PromiseOutlook
from fairlead.core.requirement import parse_requirements
from fairlead.plan.promise import Known, outlook_of


def outlook(text: str, *, call_ms: float = 0.0, is_compressible: bool = False, **values: float) -> PromiseOutlook:
    named = {name.replace("__", "@"): value for name, value in values.items()}
    return outlook_of(parse_requirements([text]), Known(named, call_ms, is_compressible))[0]


def test_what_the_model_keeps_as_converted_is_kept() -> None:
    found = outlook("p99_ms<=5", p99_ms=0.5)
    assert (found.is_kept, found.measured, found.sentence) == (True, 0.5, "as converted: 0.5 ms")


def test_what_it_misses_is_said_with_the_way_out() -> None:
    found = outlook("size_mb<=0.5", size_mb=1.39)
    assert found.is_kept is False
    assert "size_mb is 1.39 MB, needed <= 0.5" in found.sentence
    assert "say what may be lost" in found.sentence
    assert "compressed forms may keep it" in outlook("size_mb<=0.5", size_mb=1.39, is_compressible=True).sentence
    assert "train a better one" in outlook("accuracy>=0.99", accuracy=0.9, is_compressible=True).sentence


def test_what_was_not_measured_is_open() -> None:
    for text in ("accuracy_drop<=0.01", "decision_flips<=0", "p99_ms<=5", "memory_mb<=100", "cores<=2"):
        found = outlook(text)
        assert (found.is_kept, found.measured, found.is_impossible) == (None, None, False)
        assert found.sentence


def test_a_latency_below_a_call_of_nothing_is_impossible() -> None:
    found = outlook("p99_ms<=0.001", call_ms=0.01, p99_ms=0.05)
    assert found.is_impossible
    assert "a call that computes nothing takes 0.01 ms" in found.sentence
    assert not outlook("p99_ms<=0.009", call_ms=0.01, p99_ms=0.05).is_impossible  # near it, a lucky run may keep it


def test_more_rows_than_calls_of_nothing_is_impossible() -> None:
    assert outlook("throughput_rps>=1000000", call_ms=0.01).is_impossible
    assert not outlook("throughput_rps@32>=1000000", call_ms=0.01).is_impossible


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1.0))
def test_nothing_that_was_measured_to_be_kept_is_called_impossible(bound: float, value: float, call_ms: float) -> None:
    found = outlook(f"p50_ms<={bound!r}", call_ms=min(call_ms, value), p50_ms=value)
    if value <= bound:
        assert found.is_kept is True
