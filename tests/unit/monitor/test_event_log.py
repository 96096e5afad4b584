import json
import os
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.refusal import Refusal
from fairlead.monitor.event_log import EventLog, LogJob


def logged(act, **job) -> list[str]:
    lines: list[str] = []
    log = EventLog(LogJob(lines.append, clock=lambda: 1_763_800_000.25, **job))
    act(log)
    log.close()
    return lines


def test_a_failed_request_is_logged_with_what_it_takes_to_find_it(monitor) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    failed = monitor.seen(error_code="deadline", request_id="abc", rows=3, trace=trace, at=1_763_800_000.25, transport="grpc")
    (line,) = logged(lambda log: log.take([monitor.seen(), failed]), is_json=True)
    assert json.loads(line) == {
        "time": "2025-11-22T08:26:40.250Z",
        "level": "warning",
        "event": "request",
        "message": "Request abc to m:1 failed: deadline (1.5 ms, 3 rows).",
        "request_id": "abc",
        "model": "m",
        "version": 1,
        "transport": "grpc",
        "code": "deadline",
        "rows": 3,
        "batch_rows": 0,
        "queue_ms": 0.5,
        "compute_ms": 1.0,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


def test_people_get_a_sentence(monitor) -> None:
    assert logged(lambda log: log.take([monitor.seen(error_code="internal")])) == ["Request id to m:1 failed: internal (1.5 ms, 1 rows)."]


def test_slow_requests_are_logged_and_others_are_not(monitor) -> None:
    slow, quick = monitor.seen(compute_ms=100.0), monitor.seen(compute_ms=99.0)
    assert len(logged(lambda log: log.take([slow, quick]), slow_ms=100.5)) == 1
    assert "was slow" in logged(lambda log: log.take([slow]), slow_ms=100.5)[0]
    assert logged(lambda log: log.take([slow]), slow_ms=0.0) == []


def test_with_an_access_log_every_request_is_logged(monitor) -> None:
    assert len(logged(lambda log: log.take([monitor.seen()] * 300), is_access_logged=True)) == 300


def test_a_flood_of_failures_is_told_by_twenty_and_a_count(monitor) -> None:
    def flood(log) -> None:
        log.take([monitor.seen(error_code="overloaded", at=5.0)] * 1000 + [monitor.seen(compute_ms=5000.0, at=5.1)])
        log.take([monitor.seen(error_code="deadline", at=6.0)])

    lines = logged(flood)
    assert len(lines) == 22
    assert lines[20] == "More requests like these, not told one by one: 980 overloaded, 1 slow."
    assert "deadline" in lines[21]


def test_what_is_untold_at_the_end_is_counted_then(monitor) -> None:
    lines = logged(lambda log: log.take([monitor.seen(error_code="overloaded", at=5.0)] * 30))
    assert lines[-1] == "More requests like these, not told one by one: 10 overloaded."


def test_a_trace_is_indented_so_that_no_line_of_it_passes_for_another_event() -> None:
    (entry,) = logged(lambda log: log.say("Request x failed.\nTraceback:\nserving digits on http://evil"))
    assert entry == "Request x failed.\n    Traceback:\n    serving digits on http://evil"


HOSTILE = st.text(st.sampled_from("ab\n\r\x1b\x00\x7f\x85\x9b\u2028\u2029\u202e\ud800\U0001f600[31m"))


@given(HOSTILE)
def test_no_control_character_reaches_a_terminal_or_a_parser(text) -> None:
    (plain,) = logged(lambda log: log.say(text))
    assert all(character == "\n" or (character.isprintable() and not 0xD800 <= ord(character) < 0xE000) for character in plain)
    assert plain.count("\n") == plain.count("\n    ")
    (line,) = logged(lambda log: log.say(text), is_json=True)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == text


def test_a_long_sentence_is_cut_off() -> None:
    assert len(logged(lambda log: log.say("x" * 10**6), is_json=True)[0]) < 9000


def test_a_full_pipe_holds_nobody_up_and_what_does_not_fit_is_counted(monitor) -> None:
    reader, writer = os.pipe()
    log = EventLog(LogJob(lambda line: os.write(writer, line.encode())))
    began = time.perf_counter()
    for _ in range(300):
        log.take([monitor.seen(error_code="overloaded", at=float(time.perf_counter_ns()))] * 100)
        log.say("x" * 8000)
    log.close()
    assert time.perf_counter() - began < 10  # and nobody reads
    assert log.pipe.sent_count + log.pipe.dropped_count < 6000
    before = log.pipe.dropped_count
    for _ in range(5000):
        log.say("y")
    assert log.pipe.dropped_count > before
    drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 2**16), b"")])
    drain.start()
    log.pipe.close(10)
    assert not log.pipe._thread.is_alive()
    os.close(writer)
    drain.join()
    os.close(reader)


def test_a_closed_pipe_costs_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = EventLog(LogJob(lambda line: os.write(writer, line.encode())))
    log.say("a")
    log.say("b")
    log.close()
    os.close(writer)
    assert (log.pipe.sent_count, log.pipe.dropped_count) == (0, 2)


MISTAKE = Refusal("abc", "http", "POST /v2/models/m/infer", "400", "Input 'x' has shape [1].\n\x1b[31m")


def test_a_request_that_was_refused_is_logged_with_what_its_caller_was_told() -> None:
    (line,) = logged(lambda log: log.refused(MISTAKE))
    assert line == "Request abc refused: 400 for POST /v2/models/m/infer: Input 'x' has shape [1]. \\x1b[31m"
    (line,) = logged(lambda log: log.refused(MISTAKE), is_json=True)
    assert {**json.loads(line), "time": "", "message": ""} == {
        "time": "",
        "message": "",
        "level": "warning",
        "event": "request_refused",
        "request_id": "abc",
        "transport": "http",
        "asked": "POST /v2/models/m/infer",
        "status": "400",
        "reason": "Input 'x' has shape [1].\n\x1b[31m",
    }


def test_what_never_was_a_whole_request_is_logged_too_and_no_line_is_longer_than_it_may_be() -> None:
    (line,) = logged(lambda log: log.refused(Refusal("", "http", "", "400", "This is not a well-formed HTTP/1.1 request.")))
    assert line == "A request refused: 400 for what it began with: This is not a well-formed HTTP/1.1 request."
    (line,) = logged(lambda log: log.refused(MISTAKE._replace(asked="/" * 10**6)))
    assert len(line) < 500


def test_a_caller_s_mistake_over_a_transport_is_told_once_and_one_in_this_process_too(monitor) -> None:
    wrong = monitor.seen(error_code="bad_request", transport="http")
    assert logged(lambda log: log.take([wrong])) == []
    assert len(logged(lambda log: log.take([wrong._replace(transport="")]))) == 1
    assert len(logged(lambda log: log.take([wrong._replace(error_code="overloaded")]))) == 1


def test_a_flood_of_mistakes_is_told_by_twenty_and_a_count_and_leaves_room_for_what_failed_here(monitor) -> None:
    def flood(log) -> None:
        for _ in range(1000):
            log.refused(MISTAKE)
        log.refused(MISTAKE._replace(status="404"))
        log.take([monitor.seen(error_code="internal")])

    lines = logged(flood)
    assert len(lines) == 22
    assert "internal" in lines[20]
    assert lines[21] == "More requests like these, not told one by one: 980 400, 1 404."
    assert len(logged(flood, is_access_logged=True)) == 1002
