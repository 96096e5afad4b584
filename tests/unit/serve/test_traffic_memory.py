import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.traffic_event import LateLabel
from fairlead.errors import RequestError
from fairlead.serve.traffic_memory import AnswerMemory, Remembered, check_labels, decisions_of, right_count, unfit


def interface(kind=DecisionKind.ARGMAX, dtype=DType.FP32, labels=(), task=Task.CLASSIFICATION) -> Interface:
    return Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", dtype, (None, 3)),), task, Decision(kind, "y"), labels)


def answer(decisions=("no",), faced=None, **extra) -> Remembered:
    return Remembered("r1", 0, "live", True, tuple(decisions), faced or interface(labels=("no", "yes")), **extra)


@pytest.mark.parametrize(
    ("faced", "outputs", "decisions"),
    [
        (interface(labels=("a", "b", "c")), [[0.1, 0.2, 0.7]], ("c",)),
        (interface(), [[0.1, 0.2, 0.7]], (2,)),
        (interface(labels=("a", "b", "c")), [[0, 0, 1], [1, 0, 0]], ("c", "a")),
        (interface(), [[0.1, np.nan, 0.7]], (None,)),
        (interface(), [[0, 0, 1], [np.nan, 0, 0]], (2, None)),
        (interface(DecisionKind.THRESHOLD), [[0.7], [0.2]], (1, 0)),
        (interface(DecisionKind.VALUE, task=Task.REGRESSION), [[0.7]], None),
    ],
)
def test_what_an_answer_decided_row_by_row(faced, outputs, decisions) -> None:
    assert decisions_of(faced, {"y": np.array(outputs, np.float32)}) == decisions


def test_labels_that_a_model_gives_itself_are_its_decisions() -> None:
    faced = interface(DecisionKind.LABEL, DType.BYTES)
    assert decisions_of(faced, {"y": np.array(["cat", b"dog"], object)}) == ("cat", "dog")
    assert decisions_of(interface(DecisionKind.LABEL, DType.INT64), {"y": np.array([3, 4])}) == (3, 4)


def test_an_answer_without_what_decides_and_one_with_too_many_rows_are_not_remembered() -> None:
    assert decisions_of(interface(), {"other": np.ones((1, 3))}) is None
    assert decisions_of(interface(), {"y": np.ones((5000, 3), np.float32)}) is None


def test_the_oldest_answers_make_room() -> None:
    memory = AnswerMemory(4)
    for place in range(3):
        memory.keep("m", (f"r{place}",), answer(("no", "yes")))
    assert [memory.find("m", f"r{place}") is None for place in range(3)] == [True, False, False]


def test_an_answer_is_found_by_each_of_its_ids_and_counts_once() -> None:
    memory, kept = AnswerMemory(100), answer()
    memory.keep("m", ("x-1", "mine"), kept)
    assert memory.find("m", "x-1") is kept is memory.find("m", "mine")
    memory.keep("m", ("same", "same"), kept)
    assert memory.find("m", "same") is kept


def test_an_id_that_several_requests_had_says_nothing() -> None:
    memory = AnswerMemory(100)
    memory.keep("m", ("first", "42"), answer())
    memory.keep("m", ("second", "42"), answer())
    assert memory.find("m", "42").is_ambiguous
    assert not memory.find("m", "first").is_ambiguous
    assert not memory.find("m", "second").is_ambiguous
    memory.keep("other", ("42",), answer())
    assert not memory.find("other", "42").is_ambiguous


def test_a_model_is_forgotten_alone() -> None:
    memory = AnswerMemory(100)
    memory.keep("m", ("1",), answer())
    memory.keep("n", ("1",), answer())
    memory.forget("m")
    assert (memory.find("m", "1"), len(memory)) == (None, 1)


@pytest.mark.parametrize(
    ("faced", "label", "is_fit"),
    [
        (interface(labels=("3", "4")), 3, True),
        (interface(labels=(3, 4)), "3", True),
        (interface(labels=(3, 4)), 3.0, True),
        (interface(labels=(3, 4)), 3.5, False),
        (interface(labels=("no", "yes")), "Yes", False),
        (interface(labels=("no", "yes")), 1, False),
        (interface(labels=(False, True)), True, True),
        (interface(labels=(False, True)), 1, False),
        (interface(), 2, True),
        (interface(), True, False),
        (interface(), "2", False),
        (interface(DecisionKind.LABEL, DType.BYTES), "cat", True),
        (interface(DecisionKind.LABEL, DType.BYTES), 1, False),
        (interface(DecisionKind.LABEL, DType.INT64), 1, True),
        (interface(DecisionKind.LABEL, DType.INT64), "1", False),
    ],
)
def test_a_label_that_can_be_no_decision_is_refused(faced, label, is_fit) -> None:
    assert (unfit(faced, label) == "") is is_fit


def test_a_refusal_names_the_request_and_some_of_the_labels() -> None:
    with pytest.raises(RequestError, match="request 'r' is 'maybe', none of no, yes"):
        check_labels(answer(), LateLabel("r", ("maybe",)))
    with pytest.raises(RequestError, match="'r' has 2 rows, 1 labels came"):
        check_labels(answer(("no", "yes")), LateLabel("r", ("no",)))


def test_rows_are_right_where_label_and_decision_mean_the_same() -> None:
    assert right_count(answer(("no", "yes", None)), ("no", "no", "no")) == 1
    assert right_count(answer((3, 4.0)), ("3", 4)) == 2
