"""A model of texts on the whole: what is lost without each word, in the texts that have it."""

from __future__ import annotations

import click
import numpy as np
import pytest
from explained_models import review_engine

from fairlead.cli.explain_text import overview_text
from fairlead.errors import DeadlineError, UnsupportedError
from fairlead.explain.page import Page, render_page
from fairlead.explain.word_overview import WordOverviewJob

TEXTS = {"t": np.array(["a fine film", "Fine fine day it is", "a dull film", "a dull, dull day", "fine but dull"] * 4, object)}


def test_what_a_word_adds_is_the_mean_over_the_texts_that_have_it() -> None:
    found = WordOverviewJob(review_engine(), TEXTS, "t", "good").run()
    words = {one.feature: one for one in found.importances}
    assert words["fine"].loss == pytest.approx(0.15)  # the model sees one small "fine" in each of the three
    assert words["film"].loss == pytest.approx(0)
    assert words["dull"].loss < 0
    assert words["dull"].interval[0] <= words["dull"].loss <= words["dull"].interval[1]
    assert found.importances[0].feature == "fine"
    assert found.importances[-1].feature == "dull"
    assert (found.rows, found.repeats, found.curves) == (20, 0, ())
    assert found.metric == "the score of class 'good'"


def test_it_is_told_as_words() -> None:
    found = WordOverviewJob(review_engine(), TEXTS, "t").run()
    text = click.unstyle(overview_text(found))
    assert "lost, where a word is left out of those of 20 texts that have it" in text
    assert "  word" in text
    assert "a word is left out of those of 20 texts" in render_page(Page("reviews:1", overview=found))


def test_few_texts_and_little_time_are_said() -> None:
    with pytest.raises(UnsupportedError, match="No word stands in 5 of 2 texts"):
        WordOverviewJob(review_engine(), {"t": TEXTS["t"][:2]}, "t").run()

    def over() -> None:
        raise DeadlineError("over")

    with pytest.raises(DeadlineError):
        WordOverviewJob(review_engine(), TEXTS, "t", check=over).run()
