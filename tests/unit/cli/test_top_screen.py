import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.top_screen import duration, milliseconds, number, screen, size
from fairlead.monitor.live_view import VersionView, View

BUSY = VersionView("digits", "3", True, 12345.6, 3.0, 99999.0, 0.42, 1.9, 8.1, None, 3, 17, 31 * 2**20, 0, 0, 0)
IDLE = VersionView("a-model-with-a-long-name", "12", False, None, None, None, None, None, None, None, 0, 0, 0, 2, 1, 1)


def view(*versions: VersionView, **changes) -> View:
    return View(**{"is_ready": True, "release": "1", "uptime_s": 3700.0, "cpu_ratio": 0.87, "memory_bytes": 92 * 2**20,
                   "connection_count": 16, "dropped_count": 0, "versions": versions, **changes})  # fmt: skip


def text(shown: View, width: int = 140, height: int = 40) -> str:
    return click.unstyle("\n".join(screen(shown, "http://127.0.0.1:8080", width=width, height=height)))


def test_a_wide_screen_shows_everything() -> None:
    assert text(view(IDLE, BUSY)).splitlines() == [
        "http://127.0.0.1:8080  ready  up 1 h 1 min  cpu 87 %  memory 92 MiB  16 connections  12,346 requests/s",
        "",
        "MODEL                         REQ/S  ERR/S  P50 ms  P99 ms  QUEUE  RUN  ROWS/S  BATCH  MEMORY  WORKERS      STATE",
        "digits:3                     12,346      3    0.42    1.90      3   14  99,999    8.1  31 MiB        -      ready",
        "a-model-with-a-long-name:12       -      -       -       -      0    0       -      -       -      1/2  not ready",
    ]  # fmt: skip


@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 40))
def test_every_screen_is_kept_to(width, height, count) -> None:
    versions = [
        BUSY,
        IDLE,
        *(VersionView(f"m{place}", "1", True, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0, 0, 1, 0, 0, 0) for place in range(count)),
    ]
    lines = screen(view(*versions, dropped_count=3), "http://127.0.0.1:8080", width=width, height=height)
    assert len(lines) <= height
    if width >= 30:
        assert max(len(click.unstyle(line)) for line in lines) <= width


def test_a_narrow_screen_keeps_what_matters_most() -> None:
    narrow = text(view(BUSY), width=40)
    assert "REQ/S" in narrow
    assert "P99" in narrow
    assert "ROWS/S" not in narrow


def test_a_low_screen_says_how_many_are_not_shown() -> None:
    many = [VersionView(f"m{place}", "1", True, float(place), 0.0, 1.0, 1.0, 1.0, 1.0, None, 0, 0, 1, 0, 0, 0) for place in range(50)]
    low = text(view(*many), height=10)
    assert "and 44 more" in low
    assert "m49" in low  # the busiest first


def test_trouble_is_told() -> None:
    assert "not ready" in text(view(is_ready=False))
    assert "Nothing is served yet." in text(view())
    assert "3 log lines or traces dropped" in text(view(BUSY, dropped_count=3))
    assert "promise broken" in text(view(VersionView("m", "1", True, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, None, 0, 0, 1, 0, 0, 1)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.0, "0"), (0.25, "0.25"), (7.54, "7.5"), (42.01, "42.0"), (99.96, "100"), (12345.0, "12,345"), (1.25e6, "1.2M")],
)
def test_rates_are_short(value, expected) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, "-"), (0.024, "0.02"), (9.99, "9.99"), (42.0, "42.0"), (1234.5, "1,234")])
def test_latencies_have_three_digits(value, expected) -> None:
    assert milliseconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "-"), (1023, "1023 B"), (1536, "1.5 KiB"), (31 * 2**20, "31 MiB"), (5 * 2**40, "5.0 TiB")]
)
def test_sizes_have_a_unit(value, expected) -> None:
    assert size(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(5.9, "5 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (200_000, "2 d 7 h")])
def test_times_have_two_units(value, expected) -> None:
    assert duration(value) == expected
