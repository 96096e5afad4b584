import numpy as np
import pytest
from live import CLASSES, FLAG, NUMBER, WORDS, objects, piece

from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.errors import DataError
from fairlead.monitor.quality.confidence import confidence_of
from fairlead.monitor.quality.labels import UNDECIDED, LabelReader, gather, plain_text, wanted_columns


def test_labels_meet_answers_in_whatever_form_they_come() -> None:
    scores = np.eye(3)[[0, 1, 2, 0]]
    rows = gather([piece(scores, ["cat", "dog", "cat", None])], CLASSES).rows
    assert rows.said.tolist() == [0, 1, 2, 0]
    assert rows.right[:3].tolist() == [0, 1, 0]
    assert rows.is_labelled.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("interface", "label", "number"),
    [
        (CLASSES, "owl", 2.0),
        (CLASSES, "horse", None),
        (CLASSES, 1, None),
        (FLAG, True, 1.0),
        (FLAG, "1", 1.0),
        (FLAG, 1.0, 1.0),
        (FLAG, 2, None),
        (FLAG, "yes", None),
        (NUMBER, "2.5", 2.5),
        (NUMBER, 3, 3.0),
        (NUMBER, True, None),
        (NUMBER, "many", None),
        (NUMBER, float("nan"), None),
        (NUMBER, "inf", None),
    ],
)
def test_a_label_is_read_as_the_models_own_or_counted_as_unfit(interface: Interface, label: object, number: float | None) -> None:
    reader = LabelReader(interface)
    found = reader.read(label)
    assert (None if np.isnan(found) else found) == number
    assert reader.unfit == (number is None)


@pytest.mark.parametrize(
    ("one", "other"), [(3, "3"), (3.0, "3"), ("3.0", 3), (True, "true"), ("True", True), (np.int64(4), 4), (b"a", "a")]
)
def test_labels_that_mean_the_same_are_the_same_text(one: object, other: object) -> None:
    assert plain_text(one) == plain_text(other)


def test_failed_requests_and_rows_without_a_decision_are_no_right_answers() -> None:
    scores = np.array([[1.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [0.0, 1.0, 0.0]])
    rows = gather([piece(scores, ["cat", "cat", "dog"], status=objects(["ok", "ok", "deadline"]))], CLASSES).rows
    assert rows.count == 2
    assert rows.said.tolist() == [0, UNDECIDED]
    assert np.isnan(rows.confidence[1])


def test_labels_of_a_model_that_answers_with_words_are_numbered_as_they_come() -> None:
    columns = {
        "at": np.arange(3.0),
        "version": np.ones(3, int),
        "status": objects(["ok"] * 3),
        "label": objects(["yes", "no", "yes"]),
        "output:label": objects(["yes", "yes", "no"]),
        "output:scores[0]": np.array([0.2, 0.4, 0.9]),
        "output:scores[1]": np.array([0.8, 0.6, 0.1]),
    }
    rows = gather([columns], WORDS).rows
    assert (rows.right == rows.said).tolist() == [True, False, False]
    assert rows.confidence.tolist() == [0.8, 0.6, 0.9]


def test_slices_are_texts_and_what_is_missing_has_a_name() -> None:
    scores = np.eye(3)
    more = {"input:region": objects(["north", None, "south"])}
    rows = gather([piece(scores, [None] * 3, **more)], CLASSES, ("input:region", "arm")).rows
    assert rows.slices["input:region"].tolist() == ["north", "(missing)", "south"]
    assert rows.slices["arm"].tolist() == ["(missing)"] * 3


def test_without_a_row_there_is_nothing_and_no_error() -> None:
    assert gather([], CLASSES, ("arm",)).rows.count == 0


def test_a_column_that_decides_and_is_not_there_is_named() -> None:
    broken = piece(np.eye(3), [None] * 3)
    del broken["output:scores[1]"]
    with pytest.raises(DataError, match=r"output:scores\[1\]"):
        gather([broken], CLASSES)


def test_a_model_whose_answers_decide_nothing_has_no_quality() -> None:
    plain = Interface(CLASSES.inputs, CLASSES.outputs)
    with pytest.raises(DataError, match="outputs decide"):
        wanted_columns(plain)


def test_several_decisions_for_a_row_are_refused_rather_than_guessed_at() -> None:
    tags = Interface(FLAG.inputs, (TensorSpec("p", FLAG.outputs[0].dtype, (None, 3)),), None, Decision(DecisionKind.THRESHOLD, "p"))
    columns = {f"output:p[{place}]": np.array([0.1, 0.9]) for place in range(3)}
    with pytest.raises(DataError, match="several things"):
        gather([{"at": np.arange(2.0), "version": np.ones(2, int), "status": objects(["ok"] * 2), **columns}], tags)


def test_confidence_is_the_probability_of_what_was_said() -> None:
    assert confidence_of(FLAG, {"p": np.array([[0.9], [0.2]])}).tolist() == pytest.approx([0.9, 0.8])
    assert np.isnan(confidence_of(NUMBER, {"y": np.array([[0.9]])})).all()


def test_scores_that_are_no_probabilities_keep_their_order_as_confidence() -> None:
    found = confidence_of(CLASSES, {"scores": np.array([[9.0, 1.0, 0.0], [3.0, 2.0, 2.0]])})
    assert 1.0 >= found[0] > found[1] > 0.0
