import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.server_reading import ServerReading, VersionReading
from fairlead.errors import RequestError
from fairlead.monitor.live_view import compare, quantile_ms
from fairlead.monitor.metrics import Metrics, MetricsJob
from fairlead.monitor.page import Page, read_page

READING = ServerReading(True, 3, (VersionReading("m", 1, True, 5, 2, 2**20, 2, 1),))


def look(monitor, at: float, reading: ServerReading = READING) -> Page:
    page = b"".join(Metrics(MetricsJob(monitor.watcher, "1.2.3", {}, clock=lambda: 100.0))(reading, is_open_metrics=False))
    return read_page(page.decode(), at)


def test_what_happened_in_between_is_told_and_what_came_before_is_not(monitor) -> None:
    for _ in range(500):
        monitor.watcher.record(monitor.seen(compute_ms=5000.0))
    before = look(monitor, 10.0)
    for _ in range(90):
        monitor.watcher.record(monitor.seen(compute_ms=3.0, queue_ms=0.0, rows=2))
    for _ in range(10):
        monitor.watcher.record(monitor.seen(error_code="overloaded"))
    monitor.watcher.record_batch(monitor.ran(rows=120))
    monitor.watcher.record_batch(monitor.ran(rows=60))
    view = compare(before, look(monitor, 12.0), unix_now=2e9)
    (version,) = view.versions
    assert (version.model, version.version, version.is_ready) == ("m", "1", True)
    assert (version.request_rate, version.error_rate, version.row_rate, version.batch_rows) == (50, 5, 90, 90)
    assert 2.5 <= version.p50_ms <= version.p99_ms <= 5.0
    assert (version.queue_length, version.in_flight, version.memory_bytes) == (2, 5, 2**20)
    assert (version.worker_count, version.alive_worker_count) == (2, 1)
    assert (view.is_ready, view.release, view.connection_count) == (True, "1.2.3", 3)
    assert view.uptime_s > 0
    assert view.memory_bytes > 10**6


def test_one_look_alone_knows_no_rates(monitor) -> None:
    monitor.watcher.record(monitor.seen())
    view = compare(None, look(monitor, 1.0), unix_now=2e9)
    assert dataclasses.astuple(view.versions[0])[3:8] == (None,) * 5
    assert view.cpu_ratio is None


def test_a_server_that_was_started_anew_has_no_rates_yet(monitor) -> None:
    before = look(monitor, 1.0)
    samples = {
        **before.samples,
        "process_start_time_seconds": (dataclasses.replace(before.samples["process_start_time_seconds"][0], value=1.0),),
    }
    monitor.watcher.record(monitor.seen())
    assert compare(Page(samples, 0.0), before, unix_now=2e9).versions[0].request_rate is None


def test_a_version_that_came_in_between_was_asked_since_then(monitor) -> None:
    before = look(monitor, 1.0)
    for _ in range(10):
        monitor.watcher.record(monitor.seen(model="new"))
    new = compare(before, look(monitor, 3.0), unix_now=2e9).versions[1]
    assert (new.model, new.request_rate) == ("new", 5)
    assert new.p50_ms is not None


@pytest.mark.parametrize("text", ["<html>", "a b c d", 'x{a="1"} y', "fairlead_ready", "x 1", ""])
def test_what_is_no_page_of_fairlead_is_refused_by_name(text) -> None:
    with pytest.raises(RequestError, match="fairlead serve"):
        compare(None, read_page(text, 1.0), unix_now=1.0)


def test_a_page_without_end_is_refused() -> None:
    with pytest.raises(RequestError, match="more than"):
        read_page("a 1\n" * 200_001, 1.0)


def test_what_a_foreign_server_calls_its_models_cannot_move_the_cursor() -> None:
    page = read_page('fairlead_rows_total{model="a\x1b[2J\\n\\"b",version="1"} 1', 1.0)
    assert page.samples["fairlead_rows_total"][0].labels["model"] == 'a?[2J?"b'


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text) -> None:
    with contextlib.suppress(RequestError):
        compare(None, read_page(text, 1.0), unix_now=1.0)


def test_numbers_that_are_none_do_not_stop_it() -> None:
    page = read_page('fairlead_build_info{version="1"} 1\nfairlead_open_connections NaN\nprocess_resident_memory_bytes +Inf', 1.0)
    view = compare(page, read_page('fairlead_build_info{version="1"} 1', 2.0), unix_now=1.0)
    assert (view.connection_count, compare(None, page, unix_now=1.0).memory_bytes) == (0, 0)


@given(st.lists(st.floats(0.0001, 9.9), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_percentile_from_buckets_lies_in_the_bucket_of_the_true_one(times, share) -> None:
    bounds = [0.001, 0.01, 0.1, 1.0, 10.0]
    buckets = {bound: float(sum(time <= bound for time in times)) for bound in bounds} | {float("inf"): float(len(times))}
    true = sorted(times)[max(-(-round(share * 100) * len(times) // 100), 1) - 1]
    bucket = next(place for place, bound in enumerate(bounds) if true <= bound)
    found = quantile_ms(buckets, share) / 1e3
    assert (bounds[bucket - 1] if bucket else 0.0) * 0.999 <= found <= bounds[bucket] * 1.001


def test_nothing_has_no_percentile_and_what_is_beyond_the_buckets_has_the_last_bound() -> None:
    assert quantile_ms({}, 0.5) is None
    assert quantile_ms({1.0: 0.0, float("inf"): 0.0}, 0.5) is None
    assert quantile_ms({1.0: 0.0, float("inf"): 5.0}, 0.5) == 1000.0
