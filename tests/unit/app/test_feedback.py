import json

import numpy as np
import pytest
from observed import add_proven, answer, write_labels
from registered import classifier, scaler

from fairlead.app.feedback import LabelColumns, feed
from fairlead.app.quiet import Quiet
from fairlead.errors import DataError, NotFoundError


@pytest.fixture
def asked(house, tmp_path):
    model = classifier(tmp_path / "pets.onnx")
    version = add_proven(house, "pets", model)
    return answer(house, version, model, np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))


def test_labels_find_their_rows_in_any_order_and_again(house, asked, tmp_path) -> None:
    ids, said = asked
    file = write_labels(tmp_path / "labels.csv", ids[::-1], said[::-1])
    first = feed("pets", file, house, Quiet())
    assert (first.labels, first.kept, first.match.joined) == (50, 50, 50)
    again = feed("pets", file, house, Quiet())
    assert (again.match.joined, again.match.duplicate) == (0, 50)


def test_unknown_ids_wait_and_what_cannot_be_is_counted_and_left_out(house, asked, tmp_path) -> None:
    ids, said = asked
    file = write_labels(tmp_path / "labels.csv", [*ids, "nobody", ids[0], "", ids[2]], [*said, "cat", "horse", "cat", ""])
    found = feed("pets", file, house, Quiet())
    assert (found.match.joined, found.match.unknown, found.unfit, found.example, found.empty) == (50, 1, 1, "horse", 2)
    assert found.kept + found.unfit + found.empty == found.labels


def test_a_file_of_nothing_but_wrong_labels_is_refused_with_what_would_be_right(house, asked, tmp_path) -> None:
    with pytest.raises(DataError, match=r"'horse' is no class") as caught:
        feed("pets", write_labels(tmp_path / "labels.csv", ["a"], ["horse"]), house, Quiet())
    assert "cat, dog, owl" in caught.value.hint


@pytest.mark.parametrize(("text", "said"), [("request,label\na,cat\n", "request_id"), ("request_id,answer\na,cat\n", "label")])
def test_a_column_that_is_missing_is_named(house, asked, tmp_path, text: str, said: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        feed("pets", tmp_path / "labels.csv", house, Quiet())


def test_columns_may_have_other_names_and_files_other_forms(house, asked, tmp_path) -> None:
    ids, said = asked
    lines = [json.dumps({"order": identity, "was": label, "row": 0}) for identity, label in zip(ids, said, strict=True)]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(lines))
    found = feed("pets", tmp_path / "outcomes.jsonl", house, Quiet(), LabelColumns("order", "was"))
    assert found.match.joined == 50


def test_rows_of_a_request_have_their_own_labels(house, asked, tmp_path) -> None:
    (tmp_path / "labels.csv").write_text("request_id,row,label\nr0,0,cat\nr0,1,dog\n")
    found = feed("pets", tmp_path / "labels.csv", house, Quiet())
    assert (found.match.joined, found.match.unknown) == (1, 1)
    (tmp_path / "labels.csv").write_text("request_id,row,label\nr0,first,cat\n")
    with pytest.raises(DataError, match="no row"):
        feed("pets", tmp_path / "labels.csv", house, Quiet())


def test_nan_is_no_label_of_a_number(house, tmp_path) -> None:
    path, interface = scaler(tmp_path / "scale.onnx", 1)
    from dataclasses import replace

    from fairlead.core.interface import Decision, DecisionKind, Task

    model = path, replace(interface, task=Task.REGRESSION, decision=Decision(DecisionKind.VALUE, "y"))
    add_proven(house, "scale", model)
    found = feed("scale", write_labels(tmp_path / "l.csv", ["a", "b", "c", "d"], ["1.5", "nan", "inf", "many"]), house, Quiet())
    assert (found.kept, found.unfit) == (1, 3)


def test_a_model_that_is_not_registered_is_said_so(house, asked, tmp_path) -> None:
    with pytest.raises(NotFoundError, match="pests"):
        feed("pests", write_labels(tmp_path / "labels.csv", ["a"], ["cat"]), house, Quiet())
