"""Explanations at a terminal: words are marked, numbers are answered, pictures are pointed at."""

from __future__ import annotations

from dataclasses import replace

import click

from fairlead.cli.explain_text import counterfactual_text, explanation_text, rule_text
from fairlead.core.explanation import Change, Counterfactual, Explanation, Method, Rule, Subject


def found(features: tuple[str, ...], weights: tuple[float, ...], **others: object) -> Explanation:
    subject = others.pop("subject", Subject("p", 1, "the score of class 'good'"))
    decision = others.pop("decision", "good")
    return Explanation(
        0,
        decision,
        subject,
        Method.ENUMERATED,
        features,
        features,
        weights,
        (0.0,) * len(weights),
        0.5,
        0.6,
        1,
        9,
        0.1,
        **others,  # type: ignore[arg-type]
    )


def test_words_are_marked_where_they_stand() -> None:
    text = explanation_text(found(("1: a", "2: fine", "3: film"), (0.0, 0.2, -0.1), text=("a ", "fine\n", "film\x1b[2J")))
    plain = click.unstyle(text)
    assert "a fine film\\x1b[2J" in plain
    assert "\x1b[2J" not in plain
    assert "  word     weight" in plain
    assert click.style("fine", fg="red", bold=True) in text
    assert click.style("a", fg="red") not in text


def test_a_number_is_answered_and_an_image_points_at_its_picture() -> None:
    number = found(("x",), (0.1,), decision=152.125, subject=Subject("y", 0, "the answer", is_value=True))
    assert "Row 0: answered 152.1" in explanation_text(number)
    assert "The answer is 0.6" in explanation_text(number)
    assert "--out why.html" in explanation_text(found(("a", "b"), (0.1, 0.0), grid=(1, 2)))


def test_what_would_have_to_go_is_told_as_words() -> None:
    changes = (Change("3: dull", "dull", ""), Change("5: long", "long", ""))
    text = click.unstyle(counterfactual_text(0, Counterfactual(0, "bad", "good", changes, 2.0, None, 40, 0.1)))
    assert "Without 2 words: 3: dull, 5: long" in text
    assert "Then it would be decided good." in text
    number = Counterfactual(1, 1.5, 2.5, (Change("x", "1", "2"),), 1.0, 0.5, 40, 0.1, is_value=True)
    assert "Row 1: answered 1.5" in counterfactual_text(1, number)
    assert "Then it would be answered 2.5." in counterfactual_text(1, number)
    assert "fewer words" in counterfactual_text(2, None)


def test_a_rule_that_says_little_says_so() -> None:
    rule = Rule(0, "no", ("age <= 30",), 0.48, (0.45, 0.51), 0.01, 1000, 0.1)
    assert "No few conditions were found" in rule_text(rule)
    assert "No few conditions were found" not in rule_text(replace(rule, precision=0.97))
