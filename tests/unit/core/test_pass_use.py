"""The text of passes with settings: what is written reads back as the same value, and what is unreadable is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.pass_use import PassUse, parse_pass, parse_passes
from fairlead.core.plan import Candidate
from fairlead.errors import SpecError

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30)
USES = st.builds(PassUse, NAMES, st.dictionaries(NAMES, VALUES, max_size=4))


@given(st.lists(USES, max_size=4))
def test_what_is_written_reads_back_as_the_same_value(uses: list[PassUse]) -> None:
    back = parse_passes(",".join(str(use) for use in uses))
    assert back == tuple(uses)
    for use, read in zip(uses, back, strict=True):
        assert [type(value) for value in use.settings.values()] == [type(value) for value in read.settings.values()]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        uses = parse_passes(text)
    except SpecError:
        return
    assert parse_passes(",".join(str(use) for use in uses)) == uses


def test_spaces_do_not_matter() -> None:
    assert parse_passes(" a , b( x = 1 , y = soft ) ") == (PassUse("a"), PassUse("b", {"x": 1, "y": "soft"}))
    assert parse_passes("  ") == ()


@pytest.mark.parametrize(
    "text",
    ["a,", ",a", "a b", "a(", "a()", "a(x)", "a(x=)", "a(x=1", "a(x=1)b", "a(x=1,x=2)", "a(x=1;y=2)", "a(x=nan)", "a(x=1e999)", "1a"],
)
def test_what_is_unreadable_is_shown(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_passes(text)
    assert "a" in raised.value.message


def test_one_pass_is_one_pass() -> None:
    assert parse_pass("prune(ratio=0.5)") == PassUse("prune", {"ratio": 0.5})
    for text in ("", "a,b"):
        with pytest.raises(SpecError, match="not one pass"):
            parse_pass(text)


def test_a_candidate_knows_its_passes_with_their_settings() -> None:
    candidate = Candidate("small", ("clean_graph", "prune(ratio=0.5)"), "onnxruntime", 1, "")
    assert candidate.uses == (PassUse("clean_graph"), PassUse("prune", {"ratio": 0.5}))
