"""Texts: which words would have to go, which have to stay, and how they are shown."""

from __future__ import annotations

import numpy as np
import pytest
from explained_models import FunctionEngine, review_engine

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.errors import DeadlineError, RequestError
from fairlead.explain.explain_job import ExplainJob
from fairlead.explain.hiding import TextHiding, hiding_of, text_input, text_of
from fairlead.explain.page import Page, render_page
from fairlead.explain.rule import RuleSearch
from fairlead.explain.rule_ground import TextGround, ground_of
from fairlead.explain.stage import explain
from fairlead.explain.words import WordSearch


def one(text: str) -> dict[str, Array]:
    return {"t": np.array([text], object)}


def search(text: str, **options: object) -> WordSearch:
    engine = review_engine()
    words = text_of(engine.interface, one(text))
    assert words is not None
    return WordSearch(engine, one(text), words, **options)  # type: ignore[arg-type]


def test_the_fewest_words_go_that_another_decision_needs() -> None:
    looking = search("a fine film, dull dull and  dull\nin parts")
    found = looking.find()
    assert found is not None
    assert (found.decision, found.other) == ("bad", "good")
    assert [change.before for change in found.changes] == ["dull", "dull"]
    assert found.distance == 2
    assert found.nearest_share is None
    assert found.asked_rows == looking.engine.asked_rows == 1 + 9 + 8 + 2 + 1  # type: ignore[attr-defined]


def test_words_that_were_left_out_in_vain_come_back() -> None:
    """Of these, "so" moves the answer most at first, and is not needed once "very" and "fine" are gone, which turn it only together."""
    interface = review_engine().interface

    def worth(text: str) -> float:
        no_so, no_very, no_fine = (word not in text.split() for word in ("so", "very", "fine"))
        return 0.3 + 0.1 * no_so + 0.08 * no_very + 0.08 * no_fine + 0.2 * (no_very and no_fine)

    def answer(inputs: object) -> dict[str, Array]:
        good = np.array([worth(text) for text in inputs["t"]])  # type: ignore[index]
        return {"p": np.stack([1 - good, good], axis=1)}

    row = one("so very fine it is")
    words = text_of(interface, row)
    assert words is not None
    found = WordSearch(FunctionEngine(interface, answer), row, words).find()
    assert found is not None
    assert [change.before for change in found.changes] == ["very", "fine"]


def test_none_is_found_where_no_fewer_words_decide_otherwise() -> None:
    assert search("a film it is").find() is None
    assert search("fine").find() is None


def test_a_decision_can_be_asked_for_and_the_time_is_looked_at() -> None:
    assert search("fine and dull dull", wanted="good").find() is not None
    with pytest.raises(RequestError, match="no class 'great'"):
        search("fine", wanted="great").find()

    def over() -> None:
        raise DeadlineError("over")

    with pytest.raises(DeadlineError):
        search("fine", check=over).find()


def test_of_a_number_fewer_words_reach_a_bound() -> None:
    interface = Interface(
        (TensorSpec("t", DType.BYTES, (None,)),),
        (TensorSpec("y", DType.FP64, (None, 1)),),
        Task.REGRESSION,
        Decision(DecisionKind.VALUE, "y"),
    )
    engine = FunctionEngine(interface, lambda inputs: {"y": np.array([[float(len(text.split()))] for text in inputs["t"]])})
    words = text_of(interface, one("one two three four"))
    assert words is not None
    found = WordSearch(engine, one("one two three four"), words, "<=2").find()
    assert found is not None
    assert (found.decision, found.other, len(found.changes)) == (4.0, 2.0, 2)
    assert found.is_value


def test_a_rule_is_made_of_words_that_have_to_stay() -> None:
    background = {"t": np.array(["A FINE day", "a dull day", "nothing", "fine, fine"], object)}
    found = RuleSearch(review_engine(), one("it was long but fine"), background).find()
    assert found.decision == "good"
    assert found.conditions == ("word 5 is 'fine'",)
    assert found.precision == 1
    assert found.coverage == 0.5


def test_a_named_column_holds_texts_where_they_are_longer_than_a_category() -> None:
    interface = Interface((TensorSpec("x", DType.BYTES, (None, 1), ("review",)),), (TensorSpec("p", DType.FP64, (None, 2)),))
    assert text_input(interface, {"x": np.array([["New York"], ["Rome"]], object)}) is None
    assert text_input(interface, {"x": np.array([["a text of some words"]], object)}) is not None
    short, long = {"x": np.array([["fine"]], object)}, {"x": np.array([["a text of some words"], ["dull"]], object)}
    assert text_input(interface, short, short) is None
    assert isinstance(hiding_of(interface, short, long), TextHiding)  # whatever stands in the row itself, it is one of texts
    assert isinstance(ground_of(interface, short, long), TextGround)
    two = Interface((TensorSpec("x", DType.BYTES, (None, 2), ("a", "b")),), interface.outputs)
    assert text_input(two, {"x": np.array([["a text of some words", "and another one of them"]], object)}) is None


def test_the_page_marks_the_words_where_they_stand() -> None:
    row = one("  <b>fine</b> fine\nbut   dull")
    found = explain(ExplainJob(review_engine(), row, row))
    assert "".join(found[0].text) == "<b>fine</b> fine\nbut   dull"
    assert found[0].decision == "good"
    page = render_page(Page("reviews:1", found, row))
    assert "&lt;b&gt;fine&lt;/b&gt;</span> <span" in page
    assert '<span class="for" style="--strength: 70.0%" title="+0.15">fine</span>' in page
    assert "fine</span>\n<span" in page
    assert ">but</span>   <span" in page


@pytest.mark.parametrize(("row_s", "features"), [(0.0, 200), (0.002, 50)])
def test_each_word_of_a_long_text_is_one_by_itself_where_the_model_is_fast_enough(row_s: float, features: int) -> None:
    engine = review_engine()
    answer, now = engine._function, 0.0

    def slow(inputs: Tensors) -> dict[str, Array]:
        nonlocal now
        now += row_s * len(inputs["t"])
        return answer(inputs)

    engine._function = slow
    row = one("a film " * 99 + "so fine")
    (found,) = explain(ExplainJob(engine, row, row, budget_s=10.0, pair_limit=16, clock=lambda: now))
    assert len(found.features) == features
    assert "".join(found.text).split() == row["t"][0].split()
    assert found.ranked[0] == features - 1
