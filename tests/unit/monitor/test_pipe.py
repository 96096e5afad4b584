import threading
import time

from fairlead.monitor.pipe import Pipe


class Sink:
    """Keeps what it is sent; `gate` holds it up, `error` makes it fail, `limit` makes it take only the first of each group."""

    def __init__(self, *, gate: threading.Event | None = None, error: Exception | None = None, limit: int = 10**9) -> None:
        self.gate, self.error, self.limit = gate, error, limit
        self.groups: list[list[int]] = []
        self.is_called = threading.Event()

    def send(self, items) -> int:
        self.is_called.set()
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.groups.append(list(items)[: self.limit])
        return len(self.groups[-1])


def make(sink: Sink, **changes) -> Pipe[int]:
    return Pipe("test", sink.send, **{"capacity": 100, "group": 10, **changes})


def test_everything_arrives_in_order_and_in_groups() -> None:
    sink = Sink()
    pipe = make(sink)
    for start in range(0, 60, 6):
        pipe.put(range(start, start + 6))
    pipe.close(10)
    assert [item for group in sink.groups for item in group] == list(range(60))
    assert max(map(len, sink.groups)) <= 10
    assert (pipe.sent_count, pipe.dropped_count) == (60, 0)


def test_a_sink_that_hangs_holds_nobody_up_and_what_does_not_fit_is_counted() -> None:
    gate = threading.Event()
    sink = Sink(gate=gate)
    pipe = make(sink)
    pipe.put([0])
    assert sink.is_called.wait(10)
    began = time.perf_counter()
    for number in range(1000):
        pipe.put([number])
    assert time.perf_counter() - began < 5  # and it hangs for 20
    assert pipe.dropped_count == 900
    began = time.perf_counter()
    pipe.close(0.1)
    assert time.perf_counter() - began < 5
    gate.set()
    pipe.close(10)
    assert pipe.sent_count == 101


def test_a_sink_that_fails_costs_what_it_was_sent_and_nothing_else() -> None:
    sink = Sink(error=BrokenPipeError("gone"))
    pipe = make(sink)
    pipe.put(range(5))
    assert sink.is_called.wait(10)
    sink.error = None
    pipe.put(range(5, 8))
    pipe.close(10)
    assert pipe.sent_count + pipe.dropped_count == 8
    assert 5 <= pipe.dropped_count <= 8


def test_what_a_sink_refuses_of_a_group_is_dropped() -> None:
    sink = Sink(limit=4)
    pipe = make(sink, linger_s=0.05)
    pipe.put(range(6))
    pipe.close(10)
    assert (pipe.sent_count, pipe.dropped_count) == (4, 2)


def test_the_first_wait_for_others() -> None:
    sink = Sink()
    pipe = make(sink, linger_s=0.5)
    for number in range(5):
        pipe.put([number])
    pipe.close(10)
    assert sink.groups == [[0, 1, 2, 3, 4]]


def test_an_idle_pipe_closes_at_once_and_twice() -> None:
    pipe = make(Sink(), linger_s=100)
    pipe.close(10)
    pipe.close(10)
    assert not pipe._thread.is_alive()
