import threading

import numpy as np
import pytest

from fairlead.core.evidence import Outcome
from fairlead.core.traffic_event import Answered, Compared, ComparisonKind, Gap, Joining, LateLabel, Missed
from fairlead.errors import RequestError
from fairlead.serve.traffic_witness import TrafficCounter


@pytest.fixture
def said(fakes):
    """Makes events of one release."""

    class Said:
        @staticmethod
        def answered(arm="live", outcome=Outcome.OK, *, request="r", own="", release="rel", step=0, is_drawn=True, score=(0.0, 1.0)):
            outputs = {"y": np.array([score], np.float32)} if outcome is Outcome.OK else None
            version = 4 if arm == "candidate" else 3
            return Answered("m", release, step, arm, version, outcome, 2_000_000, is_drawn, request, own, fakes.pair, outputs)

        @staticmethod
        def missed(gap, kind=None, *, is_evidence=True):
            return Missed("m", "rel", 0, "candidate", 4, gap, kind, is_evidence)

        @staticmethod
        def compared(*, is_flip=False, difference=0.25, kind=ComparisonKind.SHADOW, is_evidence=True):
            return Compared("m", "rel", 0, "live", 4, kind, is_flip, difference, 3_000_000, 2_000_000, is_evidence)

    return Said


def test_answers_are_counted_by_step_and_arm(said) -> None:
    counter = TrafficCounter()
    for event in (
        said.answered(),
        said.answered("candidate"),
        said.answered("candidate", Outcome.SERVER),
        said.answered("candidate", Outcome.CLIENT, step=1),
    ):
        counter.answered(event)
    found = counter.snapshot()["rel"]
    assert (found.step(0).arm("live").requests, found.step(0).arm("candidate").requests) == (1, 2)
    assert (found.step(0).arm("candidate").server_errors, found.step(1).arm("candidate").client_errors) == (1, 1)
    assert found.step(0).arm("live").latency.quantile_ms(0.5) == pytest.approx(2.0, rel=0.02)
    assert counter.read().requests["m", "candidate", "4", "server"] == 1


def test_large_answers_do_not_wait_to_be_counted(said) -> None:
    counter = TrafficCounter()
    large = said.answered()._replace(outputs={"y": np.zeros((1, 2), np.float32), "more": np.zeros(2**21, np.float32)})
    for _ in range(9):
        counter.answered(large)
    assert len(counter._events) < 3  # 8 MiB each


def test_a_segment_is_no_evidence_and_is_counted_all_the_same(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered("candidate", is_drawn=False))
    assert counter.snapshot()["rel"].steps == ()
    assert counter.read().requests == {("m", "candidate", "4", "ok"): 1}


def test_an_arm_that_could_not_answer_has_failed_unless_it_is_about_to(said) -> None:
    counter = TrafficCounter()
    for gap in (Gap.LOADING, Gap.ASLEEP, Gap.FAILED, Gap.MISFIT):
        counter.missed(said.missed(gap))
    counter.missed(said.missed(Gap.FAILED, is_evidence=False))
    arm = counter.snapshot()["rel"].step(0).arm("candidate")
    assert (arm.requests, arm.server_errors) == (2, 2)
    assert counter.read().fallbacks["m", "candidate", "4", "failed"] == 2


def test_comparisons_are_counted_with_what_was_not_compared(said) -> None:
    counter = TrafficCounter()
    counter.compared(said.compared())
    counter.compared(said.compared(is_flip=True, difference=2.0))
    for gap in (Gap.BUSY, Gap.LATE, Gap.FAILED):
        counter.missed(said.missed(gap, ComparisonKind.SHADOW))
    counter.compared(said.compared(kind=ComparisonKind.TWIN, is_evidence=False))
    step, reading = counter.snapshot()["rel"].step(0), counter.read()
    assert (step.shadow.pairs, step.shadow.flips, step.shadow.dropped, step.shadow.failures) == (2, 1, 2, 1)
    assert (step.shadow.largest_difference, step.twin.pairs) == (2.0, 0)
    assert (reading.comparisons["m", "4", "shadow"], reading.flips["m", "4", "shadow"], reading.comparisons["m", "4", "twin"]) == (2, 1, 1)
    assert reading.differences["m", "4", "shadow"] == 2.0
    assert reading.dropped["m", "4", "shadow", "busy"] == 1


def test_requests_without_a_release_are_in_metrics_only(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered(release=""))
    assert counter.snapshot() == {}
    assert counter.read().requests == {("m", "live", "3", "ok"): 1}


def test_late_labels_say_who_was_right(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered(request="a", score=(0, 1)))
    counter.answered(said.answered("candidate", request="b", own="mine", score=(1, 0)))
    labels = [LateLabel("a", ("yes",)), LateLabel("mine", ("yes",)), LateLabel("gone", ("yes",)), LateLabel("b", ("yes",))]
    counter.check("m", labels)
    assert counter.join("m", labels) == Joining(joined=2, unknown=1, duplicate=1)
    step = counter.snapshot()["rel"].step(0)
    assert (step.arm("live").labelled, step.arm("live").right) == (1, 1)
    assert (step.arm("candidate").labelled, step.arm("candidate").right) == (1, 0)
    assert counter.read().labels == {("m", "joined"): 2, ("m", "unknown"): 1, ("m", "duplicate"): 1}


def test_a_label_of_a_segment_is_joined_and_no_evidence(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered(request="a", is_drawn=False))
    assert counter.join("m", [LateLabel("a", ("yes",))]) == Joining(joined=1)
    assert counter.snapshot()["rel"].steps == ()


def test_labels_that_cannot_be_compared_are_refused_before_anything_counts(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered(request="a"))
    with pytest.raises(RequestError):
        counter.check("m", [LateLabel("a", ("perhaps",))])
    with pytest.raises(RequestError):
        counter.check("m", [LateLabel("a", ("yes", "no"))])
    assert counter.read().labels == {}


def test_the_answers_of_a_release_that_has_ended_are_forgotten(said) -> None:
    counter = TrafficCounter()
    counter.answered(said.answered(request="a"))
    counter.ended("m")
    assert counter.join("m", [LateLabel("a", ("yes",))]) == Joining(unknown=1)


def test_metrics_show_the_release_of_a_model_that_was_asked_last(said) -> None:
    counter = TrafficCounter()
    for release, arm in (("old", "A"), ("new", "live"), ("old", "A"), ("new", "live")):
        counter.answered(said.answered(arm, release=release))
    assert counter.read().requests == {("m", "live", "3", "ok"): 2}
    assert set(counter.snapshot()) == {"old", "new"}


def test_counts_are_exact_while_another_thread_looks(said) -> None:
    counter, stop = TrafficCounter(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            counter.snapshot()
            counter.read()

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(5_000):
        counter.answered(said.answered())
    stop.set()
    looking.join()
    assert counter.snapshot()["rel"].step(0).arm("live").requests == 5_000


def test_a_mistake_in_counting_fails_no_request_and_is_told(said, fakes) -> None:
    defects = []
    counter = TrafficCounter(on_defect=defects.append)
    five = said.answered()._replace(outputs={"y": np.array([[0, 0, 0, 0, 1]], np.float32)})  # of a model that names two classes
    for event in (five, said.answered(request="good")):
        counter.answered(event)
    assert counter.snapshot()["rel"].step(0).arm("live").requests == 2
    assert len(defects) == 1
    assert "IndexError" in defects[0]
    assert counter.join("m", [LateLabel("good", ("yes",))]) == Joining(joined=1)
