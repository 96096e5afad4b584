import math
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.observation_log import RecordCounts, RecordReading
from fairlead.core.server_reading import CacheReading, ServerReading, VersionReading
from fairlead.core.traffic_event import TrafficReading
from fairlead.monitor.exposition import write
from fairlead.monitor.families import FAMILIES, Family, Kind
from fairlead.monitor.histogram import ROWS, SECONDS, Histogram
from fairlead.monitor.metrics import Metrics, MetricsJob

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client reads what we write")
open_parser = pytest.importorskip("prometheus_client.openmetrics.parser")

READING = ServerReading(
    is_ready=True,
    connection_count=3,
    versions=(VersionReading("m", 1, True, 2, 1, 1000, 2, 1, 4), VersionReading("loading", 7, False)),
    responses={("http", "200"): 5, ("http", "503"): 1, ("grpc", "OK"): 2},
    cache=CacheReading(10, 2, 1),
    traffic=TrafficReading(
        requests={("m", "candidate", "2", "ok"): 7},
        fallbacks={("m", "candidate", "2", "failed"): 1},
        comparisons={("m", "2", "shadow"): 6},
        flips={("m", "2", "shadow"): 2},
        differences={("m", "2", "shadow"): math.inf, ("m", "2", "twin"): 0.25},
        dropped={("m", "2", "shadow", "busy"): 3},
        labels={("m", "joined"): 4},
    ),
)
RECORDED = RecordReading({"m": RecordCounts(observed=9, written=8, dropped=1)}, 100, 2000.0)
SINKS = {"log": SimpleNamespace(sent_count=5, dropped_count=1)}


def page(watcher, reading=READING, *, is_open_metrics=False, now=100.0) -> str:
    metrics = Metrics(MetricsJob(watcher, "1.2.3", SINKS, clock=lambda: now))
    metrics.recording = lambda: RECORDED
    return b"".join(metrics(reading, is_open_metrics=is_open_metrics)).decode()


def samples(text: str, *, is_open=False) -> dict:
    read = (open_parser if is_open else parser).text_string_to_metric_families
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in read(text) for sample in family.samples}


def value(found: dict, name: str, **labels) -> float:
    return found[(name, *sorted(labels.items()))]


def test_counts_are_exact_in_both_formats(monitor) -> None:
    watcher = monitor.watcher
    for number in range(1000):
        watcher.record(monitor.seen(rows=2, queue_ms=0.2, compute_ms=number / 100, is_cache_hit=number % 10 == 0))
    watcher.record(monitor.seen(error_code="overloaded", transport="grpc"))
    watcher.record(monitor.seen(error_code="cancelled", transport=""))
    watcher.record_batch(monitor.ran(rows=33, requests=4, compute_ms=3.0))
    watcher.record_batch(monitor.ran(error_code="unavailable"))
    plain, opened = samples(page(watcher)), samples(page(watcher, is_open_metrics=True), is_open=True)
    for found in (plain, opened):
        m = {"model": "m", "version": "1"}
        assert value(found, "fairlead_requests_total", **m, transport="http", code="ok") == 1000
        assert value(found, "fairlead_requests_total", **m, transport="grpc", code="overloaded") == 1
        assert value(found, "fairlead_requests_total", **m, transport="local", code="cancelled") == 1
        assert value(found, "fairlead_request_duration_seconds_count", **m) == 1000
        assert value(found, "fairlead_request_duration_seconds_sum", **m) == pytest.approx((sum(range(1000)) / 100 + 200) / 1000)
        assert value(found, "fairlead_request_duration_seconds_bucket", **m, le="0.001") == 81  # 0.2 ms + up to 0.80 ms
        assert value(found, "fairlead_queue_duration_seconds_count", **m) == 900
        assert value(found, "fairlead_rows_total", **m) == 2000
        assert value(found, "fairlead_cache_hits_total", **m) == 100
        assert (
            value(found, "fairlead_batches_total", **m, code="ok") == value(found, "fairlead_batches_total", **m, code="unavailable") == 1
        )
        assert value(found, "fairlead_batch_rows_sum", **m) == 33
        assert value(found, "fairlead_compute_duration_seconds_sum", **m) == pytest.approx(0.003)
        assert value(found, "fairlead_responses_total", transport="http", status="503") == 1
        assert value(found, "fairlead_queued_requests", **m) == 1
        assert value(found, "fairlead_alive_workers", **m) == 1
        assert value(found, "fairlead_worker_restarts_total", **m) == 4
        assert value(found, "fairlead_telemetry_dropped_total", sink="log") == 1
        assert value(found, "fairlead_ready") == 1
        assert value(found, "fairlead_cache_evictions_total") == 1
        assert value(found, "process_resident_memory_bytes") > 10**6
        assert value(found, "process_start_time_seconds") > 1.6e9


@pytest.mark.parametrize("is_open", [False, True])
def test_what_a_release_does_is_shown(monitor, is_open) -> None:
    found = samples(page(monitor.watcher, is_open_metrics=is_open), is_open=is_open)
    arm = {"model": "m", "arm": "candidate", "version": "2"}
    shadow = {"model": "m", "version": "2", "kind": "shadow"}
    assert value(found, "fairlead_traffic_requests_total", **arm, outcome="ok") == 7
    assert value(found, "fairlead_traffic_fallbacks_total", **arm, reason="failed") == 1
    assert (value(found, "fairlead_comparisons_total", **shadow), value(found, "fairlead_comparison_flips_total", **shadow)) == (6, 2)
    assert value(found, "fairlead_comparison_largest_difference", **shadow) == math.inf
    assert value(found, "fairlead_comparisons_dropped_total", **shadow, reason="busy") == 3
    assert value(found, "fairlead_late_labels_total", model="m", result="joined") == 4


def test_what_became_of_observations_is_shown(monitor) -> None:
    found = samples(page(monitor.watcher))
    assert value(found, "fairlead_observations_total", model="m", result="written") == 8
    assert value(found, "fairlead_observations_log_bytes") == 2000


def test_a_version_that_nobody_has_asked_is_shown_with_zeros(monitor) -> None:
    found = samples(page(monitor.watcher))
    assert value(found, "fairlead_request_duration_seconds_count", model="loading", version="7") == 0
    assert value(found, "fairlead_version_ready", model="loading", version="7") == 0


def test_a_version_that_is_gone_is_shown_for_ten_minutes_and_no_longer(monitor) -> None:
    monitor.watcher.record(monitor.seen(model="gone", version=2))
    assert value(samples(page(monitor.watcher, now=699.0)), "fairlead_rows_total", model="gone", version="2") == 1
    assert "gone" not in page(monitor.watcher, now=701.0)
    assert 'model="m"' in page(monitor.watcher, now=10_000.0)


def test_every_family_is_shown_and_follows_the_conventions(monitor) -> None:
    monitor.watcher.record_batch(monitor.ran())
    monitor.watcher.record(monitor.seen())
    text = page(monitor.watcher)
    shown = {family.name for family in parser.text_string_to_metric_families(text)}
    assert shown == {family.name if family.kind is not Kind.INFO else family.full_name for family in FAMILIES}
    for family in FAMILIES:
        assert family.meaning[0].isupper() or family.meaning[0].isdigit()
        assert not set('\n"\\') & set(family.meaning)
        assert not family.meaning.endswith(".")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus (Debian: prometheus)")
def test_promtool_has_nothing_to_say(monitor) -> None:
    monitor.watcher.record_batch(monitor.ran())
    monitor.watcher.record(monitor.seen())
    text = page(monitor.watcher).encode()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    bad = subprocess.run(["promtool", "check", "metrics"], input=b"# TYPE a counter\na 1\n", capture_output=True, timeout=30, check=False)
    assert bad.returncode != 0


NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(NAMES, st.floats(allow_subnormal=False))
def test_whatever_a_label_holds_is_read_back(label, number) -> None:
    family = Family("x", Kind.GAUGE, ("name",), "X")
    for is_open in (False, True):
        text = b"".join(write([(family, [((label,), number)])], is_open_metrics=is_open)).decode()
        ((name, read), got), *rest = samples(text, is_open=is_open).items()
        assert (name, read, rest) == ("x", ("name", label), [])
        assert got == number or math.isnan(got) == math.isnan(number) is True


@given(st.lists(st.floats(0, 50), max_size=200), st.sampled_from([SECONDS, ROWS]))
def test_a_histogram_counts_every_value_in_the_first_bucket_that_holds_it(values, bounds) -> None:
    histogram = Histogram(bounds)
    for start in range(0, len(values), 7):
        histogram.add(np.array(values[start : start + 7]))
    text = b"".join(write([(Family("h", Kind.HISTOGRAM, (), "H"), [((), histogram.read())])], is_open_metrics=True)).decode()
    found = samples(text, is_open=True)
    for bound in bounds:
        assert value(found, "h_bucket", le=repr(float(bound))) == sum(item <= bound for item in values)
    assert value(found, "h_bucket", le="+Inf") == value(found, "h_count") == len(values) == histogram.read().count
    assert value(found, "h_sum") == pytest.approx(sum(values))


def test_a_clock_that_steps_back_makes_no_negative_duration(monitor) -> None:
    monitor.watcher.record(monitor.seen(queue_ms=-5.0, compute_ms=-7.0, at=-1.0))
    found = samples(page(monitor.watcher))
    assert value(found, "fairlead_request_duration_seconds_sum", model="m", version="1") == 0


def test_a_long_page_comes_in_pieces(monitor) -> None:
    reading = ServerReading(True, versions=tuple(VersionReading(f"m{number}", 1, True) for number in range(100)))
    pieces = list(Metrics(MetricsJob(monitor.watcher, "1", {}))(reading, is_open_metrics=False))
    assert len(pieces) > 20
    assert max(piece.count(b"\n") for piece in pieces) < 300
