"""The page: what it draws is what the values say, and no name becomes markup."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from fairlead.core.explanation import Curve, Explanation, Importance, Method, Overview, Subject
from fairlead.explain.page import Page, answered, beside, how, render_page
from fairlead.explain.picture import WIDTH, draw_bars, draw_curve, draw_forces, draw_importance, draw_patches, picture_address

FOUND = Explanation(
    row=0,
    decision="yes",
    subject=Subject("p", 1, "the score of class 'yes'"),
    method=Method.SAMPLED,
    features=("age", "income", "shoe"),
    given=("25", "40", "0"),
    weights=(0.5, -0.2, 0.0),
    bounds=(0.1, 0.05, 0.01),
    base=0.3,
    output=0.6,
    background_count=100,
    asked_rows=1000,
    seconds=1.5,
)
HOSTILE = "<script>alert(1)</script>\"'"


def test_bars_are_as_long_as_weights_and_go_to_their_side() -> None:
    drawn = draw_bars(FOUND)
    first, second = drawn.bars
    assert (first.name, second.name) == ("age", "income")
    assert first.width / second.width == pytest.approx(2.5, rel=0.01)
    assert first.x == pytest.approx(drawn.zero)
    assert second.x + second.width == pytest.approx(drawn.zero, abs=0.2)
    assert first.high - first.low == pytest.approx(first.width * 0.4, rel=0.01)
    assert drawn.rest == "1 other features together: +0"


def test_forces_lead_from_the_mean_to_the_answer() -> None:
    drawn = draw_forces(FOUND)
    assert drawn is not None
    plus, minus = drawn.forces
    assert plus.x + plus.width == pytest.approx(drawn.output, abs=0.2)
    assert minus.x == pytest.approx(drawn.output, abs=0.2)
    assert 0 <= plus.x <= plus.x + plus.width <= minus.x + minus.width <= WIDTH
    assert plus.name == "age"
    narrow = draw_forces(replace(FOUND, features=("a name that has no room", "income", "shoe"), weights=(0.02, -0.2, 0.0)))
    assert narrow is not None
    assert narrow.forces[0].name == ""
    assert draw_forces(replace(FOUND, method=Method.OCCLUSION)) is None
    assert draw_forces(replace(FOUND, weights=(0.0, 0.0, 0.0))) is None


def test_patches_lie_on_a_grid_over_the_image() -> None:
    found = replace(FOUND, features=tuple("abcdef"), given=("",) * 6, weights=(0, 1, 0, 0, -0.5, 0), bounds=(0,) * 6, grid=(2, 3))
    drawn = draw_patches(found, np.zeros((4, 6)))
    assert drawn is not None
    assert [(patch.x, patch.y) for patch in drawn.patches] == [(x, y) for y in (0, 168) for x in (0, 112, 224)]
    assert [patch.strength for patch in drawn.patches] == [0, 1, 0, 0, 0.5, 0]
    assert drawn.image.startswith("data:image/png;base64,")
    assert draw_patches(FOUND, None) is None


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6), (4, 6, 3), (3, 4, 6)])
def test_the_image_is_a_png_of_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).normal(size=shape)
    png = base64.b64decode(picture_address(pixels).partition(",")[2])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, bits, kind = struct.unpack(">IIBB", png[16:26])
    assert (width, height, bits) == (6, 4, 8)
    size = {0: 1, 2: 3}[kind]
    start = png.index(b"IDAT") + 4
    lines = zlib.decompressobj().decompress(png[start:])
    assert len(lines) == 4 * (1 + 6 * size)
    assert lines[0] == 0
    assert {0, 255} <= set(lines)


def test_what_is_no_image_has_no_picture() -> None:
    assert picture_address(np.zeros((5, 6, 5))) == ""
    assert picture_address(np.zeros(7)) == ""
    assert picture_address(np.array([["a", "b"]] * 2, object)) == ""


def test_curves_stay_in_their_frame() -> None:
    line = draw_curve(Curve("age", "y", (1.0, 2.0, 5.0), (0.1, 0.4, 0.2), (-0.1, 0.2, 0.0), (3, 4)))
    for points in (line.dependence, line.local):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= line.width
            assert 0 <= y <= line.height
    assert [text for _, text in line.ticks] == ["1", "5"]
    texts = draw_curve(Curve("job", "y", ("cook", "clerk"), (0.1, 0.4)))
    assert [text for _, text in texts.ticks] == ["cook", "clerk"]
    assert texts.dependence == ""
    assert [y for _, y in texts.dots] == [124, 26]
    overview = Overview("accuracy", 1, 1, (), (Curve("job", "y", ("a", "b"), (0.1, 0.4)),), 9, 0.1)
    assert render_page(Page("m:1", overview=overview)).count("<circle") == 2


def test_importance_without_an_interval_is_drawn_without_one() -> None:
    drawn = draw_importance(Overview("accuracy", 1, 5, (Importance("age", 0.2, (-np.inf, np.inf)),), (), 9, 0.1))
    assert all(np.isfinite([bar.low, bar.high, bar.width]).all() for bar in drawn.bars)


def test_those_that_are_not_shown_are_called_what_they_are() -> None:
    losses = tuple(Importance(f"item {number}", 0.1, (0.0, 0.2)) for number in range(20))
    assert draw_importance(Overview("accuracy", 1, 5, losses, (), 9, 0.1)).rest == "5 other features lose less"
    assert draw_importance(Overview("accuracy", 1, 0, losses, (), 9, 0.1)).rest == "5 other words lose less"


def test_the_page_says_what_was_found_and_how_sure_it_is() -> None:
    overview = Overview("accuracy", 100, 5, (Importance("age", 0.2, (0.1, 0.3)),), (Curve("age", "y", (1.0, 2.0), (0.1, 0.4)),), 9, 0.1)
    page = render_page(Page("loans:3", (FOUND,), {}, overview))
    for part in ("loans:3", "decided yes", "<b>0.6</b>", "0.3 on average", "+0.5", "1,000 rows asked", "What it goes by", "<svg"):
        assert part in page
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=["']?(?!data:)""", page)


def test_no_name_becomes_markup() -> None:
    found = replace(FOUND, features=(HOSTILE,) * 3, given=(HOSTILE,) * 3, decision=HOSTILE, notes=(HOSTILE,))
    overview = Overview(
        HOSTILE, 1, 1, (Importance(HOSTILE, 0.2, (0.1, 0.3)),), (Curve(HOSTILE, HOSTILE, (HOSTILE, "b"), (0.1, 0.4)),), 9, 0.1
    )
    page = render_page(Page(HOSTILE, (replace(found, subject=Subject("p", 0, HOSTILE)),), {}, overview))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Method.TREES, "Exact"),
        (Method.ENUMERATED, "Exact"),
        (Method.SAMPLED, "hold together"),
        (Method.OCCLUSION, "not add up"),
        (Method.GRADIENTS, "add up but for"),
    ],
)
def test_every_method_says_how_sure_it_is(method: Method, said: str) -> None:
    assert said in how(replace(FOUND, method=method))


@pytest.mark.parametrize(
    ("method", "said"),
    [(Method.SAMPLED, "over 100 background rows"), (Method.GRADIENTS, "for the mean of 100 background rows"), (Method.OCCLUSION, "")],
)
def test_it_says_what_the_answer_is_held_against(method: Method, said: str) -> None:
    text = beside(replace(FOUND, method=method))
    assert said in text
    assert bool(text) == bool(said)


def test_a_number_is_answered_and_a_decision_decided() -> None:
    found = replace(FOUND, decision=152.125, subject=replace(FOUND.subject, is_value=True))
    assert "Row 0: answered 152.1<" in render_page(Page("m:1", (found,)))
    assert answered("yes", is_value=False) == "decided yes"


def test_words_are_held_against_no_word() -> None:
    assert "without any word it is 0.3" in beside(replace(FOUND, background_count=0))
