import threading

from fairlead.core.observation import BatchObservation, Observation
from fairlead.core.requirement import parse_requirements
from fairlead.errors import NotFoundError
from fairlead.monitor.stage import Watcher, WatchJob, watch


def seen(
    *, compute_ms: float = 1.0, at: float = 100.0, rows: int = 1, error: str = "", version: int = 1, queue_ms: float = 0.0
) -> Observation:
    return Observation("id", "m", version, at, rows, queue_ms, compute_ms, error)


def watcher(*promises: str, found=None, clock=lambda: 100.0) -> Watcher:
    return Watcher(WatchJob(lambda name, number: parse_requirements(promises), (found or []).append, clock=clock, capacity=1000))


def test_a_promise_that_is_broken_in_three_reviews_is_found_once() -> None:
    watched = watcher("p99_ms<=10", "accuracy>=0.9")
    for _ in range(200):
        watched.record(seen(compute_ms=9.0, queue_ms=2.0))  # what the caller waits for counts, not what the engine takes
    assert watched.review() == watched.review() == ()
    (finding,) = watched.review()
    assert (finding.model, finding.version, finding.measured, finding.is_closed) == ("m", 1, 11.0, False)
    assert "does not keep p99_ms<=10" in str(finding)
    assert watched.review() == ()


def test_a_promise_that_is_kept_finds_nothing() -> None:
    watched = watcher("p99_ms<=10")
    for _ in range(200):
        watched.record(seen(compute_ms=9.0))
    assert [watched.review() for _ in range(10)] == [()] * 10


def test_a_finding_closes_only_when_there_is_room_to_spare() -> None:
    now = [100.0]
    watched = watcher("p95_ms<=10", clock=lambda: now[0])
    findings = []
    for compute_ms in (20.0, 9.5, 5.0):
        now[0] += 1000
        for _ in range(200):
            watched.record(seen(compute_ms=compute_ms, at=now[0]))
        findings.append([finding.is_closed for _ in range(5) for finding in watched.review()])
    assert findings == [[False], [], [True]]


def test_few_requests_prove_nothing() -> None:
    watched = watcher("p99_ms<=10")
    for _ in range(99):
        watched.record(seen(compute_ms=500.0))
    assert [watched.review() for _ in range(5)] == [()] * 5


def test_a_promise_at_a_batch_size_looks_at_requests_up_to_that_size() -> None:
    watched = watcher("p50_ms@4<=10")
    for _ in range(100):
        watched.record(seen(compute_ms=1.0, rows=4))
        watched.record(seen(compute_ms=900.0, rows=400))
    assert [watched.review() for _ in range(5)] == [()] * 5


def test_old_observations_leave_the_window() -> None:
    watched = watcher(clock=lambda: 1000.0)
    watched.record(seen(at=100.0))
    watched.record(seen(at=999.0, rows=7, compute_ms=3.0))
    watched.record(seen(at=999.5, error="overloaded"))
    summary = watched.summary("m", 1)
    assert (summary.count, summary.error_count, summary.row_count, summary.p50_ms) == (2, 1, 7, 3.0)


def test_statistics_have_the_form_of_the_protocol_and_only_grow() -> None:
    watched = watcher()
    watched.record(seen(rows=3, compute_ms=2.0, queue_ms=1.0))
    watched.record(seen(rows=1, compute_ms=2.0, queue_ms=0.5))
    watched.record_batch(BatchObservation("m", 1, 100.0, 4, 2, 2.0))
    watched.record(seen(error="bad_request", rows=0, compute_ms=0.0))
    stats = watched.statistics("m", 1)
    assert (stats["name"], stats["version"], stats["inference_count"], stats["execution_count"]) == ("m", "1", 4, 1)
    assert stats["last_inference"] == 100_000
    assert stats["inference_stats"]["success"] == {"count": 2, "ns": 5_500_000}
    assert stats["inference_stats"]["queue"] == {"count": 2, "ns": 1_500_000}
    assert stats["inference_stats"]["compute_infer"] == {"count": 2, "ns": 4_000_000}
    assert stats["inference_stats"]["fail"]["count"] == 1
    nothing = {"count": 1, "ns": 0}
    infer = {"count": 1, "ns": 2_000_000}
    assert stats["batch_stats"] == [{"batch_size": 4, "compute_input": nothing, "compute_infer": infer, "compute_output": nothing}]
    assert watched.statistics("other", 9)["inference_count"] == 0


def test_what_was_not_computing_is_told_apart() -> None:
    watched = watcher()
    watched.record(seen(rows=3, compute_ms=2.0)._replace(input_ms=0.25, output_ms=0.5))
    watched.record(seen(rows=1, compute_ms=0.0)._replace(is_cache_hit=True, cache_ms=0.125))
    watched.record(seen(rows=1, compute_ms=1.0)._replace(is_cache_miss=True, cache_ms=0.375))
    watched.record_batch(BatchObservation("m", 1, 100.0, 4, 2, 2.0, "", 0.25, 0.5))
    stats = watched.statistics("m", 1)
    spent = {name: phase["ns"] for name, phase in stats["inference_stats"].items()}
    assert (spent["compute_input"], spent["compute_infer"], spent["compute_output"]) == (250_000, 2_250_000, 500_000)
    assert (spent["cache_hit"], spent["cache_miss"]) == (125_000, 375_000)
    assert [stats["batch_stats"][0][f"compute_{part}"]["ns"] for part in ("input", "infer", "output")] == [250_000, 1_250_000, 500_000]


def test_answers_from_the_cache_are_successes_but_no_inferences() -> None:
    watched = watcher()
    watched.record(seen(rows=5)._replace(is_cache_miss=True))
    watched.record(seen(rows=5, compute_ms=0.0)._replace(is_cache_hit=True))
    watched.record(seen(rows=5, compute_ms=0.0)._replace(is_cache_hit=True))
    watched.record(seen(error="deadline")._replace(is_cache_miss=True))
    stats = watched.statistics("m", 1)
    counts = {name: phase["count"] for name, phase in stats["inference_stats"].items()}
    assert counts["success"] == 3
    assert (counts["queue"], counts["compute_infer"], counts["fail"]) == (1, 1, 1)
    assert (counts["cache_hit"], counts["cache_miss"], stats["inference_count"]) == (2, 2, 5)


def test_a_failed_engine_call_is_no_execution() -> None:
    watched = watcher()
    watched.record_batch(BatchObservation("m", 1, 100.0, 4, 2, 2.0, "unavailable"))
    watched.record(seen(error="unavailable"))
    assert watched.statistics("m", 1)["execution_count"] == 0
    assert watched.statistics("m", 1)["batch_stats"] == []


def test_memory_is_bounded_in_observations_and_in_versions() -> None:
    watched = watcher()
    for number in range(5000):
        watched.record(seen(version=1 + number % 1000))
    assert len(watched.meter.tallies()) <= 256
    for _ in range(5000):
        watched.record(seen(version=7))
    assert watched.summary("m", 7).count == 1000


def test_a_listener_that_raises_fails_no_request_and_is_reported() -> None:
    def listener(observations) -> None:
        raise ZeroDivisionError("its own mistake")

    told: list[str] = []
    watched = Watcher(WatchJob(lambda name, number: (), lambda finding: None, listeners=(listener,), on_defect=told.append))
    for _ in range(600):
        watched.record(seen())
    assert watched.statistics("m", 1)["inference_count"] == 600
    assert len(told) == 2  # the buffer was counted twice
    assert "its own mistake" in told[0]


def test_the_version_that_was_asked_longest_ago_is_forgotten_first() -> None:
    watched = watcher()
    for number in range(1, 400):
        watched.record(seen(version=number))
        watched.record(seen(version=1))
        watched.meter.fold()
    kept = watched.meter.tallies()
    assert ("m", 1) in kept
    assert ("m", 2) not in kept
    assert ("m", 399) in kept


def test_a_version_whose_record_cannot_be_read_has_promised_nothing() -> None:
    def promises(name: str, number: int):
        raise NotFoundError("gone")

    watched = Watcher(WatchJob(promises, lambda finding: None, clock=lambda: 100.0))
    for _ in range(200):
        watched.record(seen(compute_ms=999.0))
    assert [watched.review() for _ in range(5)] == [()] * 5


def test_findings_are_told_by_the_watchers_own_thread_until_it_is_closed() -> None:
    told = threading.Event()
    job = WatchJob(lambda name, number: parse_requirements(["p50_ms<=1"]), lambda finding: told.set(), interval_s=0.01, clock=lambda: 100.0)
    watched = watch(job)
    for _ in range(200):
        watched.record(seen(compute_ms=5.0))
    assert told.wait(10)
    watched.close()
    watched.close()
    assert not watched._thread.is_alive()
