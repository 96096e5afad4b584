from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.manifest import Manifest
from fairlead.core.version import AliasMove
from fairlead.errors import ConflictError, NotFoundError, SpecError
from fairlead.register.aliases import promote, rollback, standing
from fairlead.stores.sqlite_records import SqliteRecords


class Clock:
    """Counts seconds from 100."""

    now = 99.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def records(tmp_path: Path) -> SqliteRecords:
    records = SqliteRecords(tmp_path / "registry.sqlite")
    for _ in range(4):
        records.add_version("digits", Manifest(()), 1.0)
    return records


@pytest.fixture
def tools(records: SqliteRecords) -> dict[str, object]:
    return {"records": records, "clock": Clock()}


def test_promoting_points_the_alias_and_keeps_the_move(records, tools):
    move = promote("digits", 2, **tools)
    assert move == AliasMove("digits", "production", 2, 0, 100.0, move.sequence, "promote")
    assert records.aliases("digits") == {"production": 2}
    assert promote("digits", 3, alias="staging", reason="deploy", **tools).alias == "staging"
    assert records.aliases("digits") == {"production": 2, "staging": 3}


def test_promoting_to_where_the_alias_is_moves_nothing(records, tools):
    move = promote("digits", 2, **tools)
    sequence = records.sequence()
    assert promote("digits", 2, **tools) == promote("digits", 2, expected=2, **tools) == move
    assert records.sequence() == sequence


def test_promoting_from_where_the_alias_is_not_is_a_conflict(records, tools):
    promote("digits", 2, **tools)
    for expected in (0, 1, 3):
        with pytest.raises(ConflictError, match="points at version 2"):
            promote("digits", 3, expected=expected, **tools)
    assert promote("digits", 3, expected=2, **tools).previous == 2


@pytest.mark.parametrize(
    ("name", "number", "alias", "error"),
    [
        ("digits", 5, "production", NotFoundError),
        ("digits", 0, "production", NotFoundError),
        ("digitz", 1, "production", NotFoundError),
        ("../digits", 1, "production", SpecError),
        ("digits", 1, "Production!", SpecError),
    ],
)
def test_promoting_what_does_not_exist_is_refused(records, tools, name, number, alias, error):
    before = records.sequence()
    with pytest.raises(error):
        promote(name, number, alias=alias, **tools)
    assert records.sequence() == before


class Racing:
    """Records in which somebody else moves the alias between each look and the move after it, `count` times."""

    def __init__(self, records: SqliteRecords, count: int) -> None:
        self._records, self._left = records, count

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    def move_alias(self, name: str, alias: str, number: int, **keywords: object) -> AliasMove:
        if self._left:
            self._left -= 1
            current = self._records.aliases(name).get(alias, 0)
            self._records.move_alias(name, alias, 3 if current != 3 else 4, expected=current, moved_at=0.0, reason="promote")
        return self._records.move_alias(name, alias, number, **keywords)


def test_promoting_from_anywhere_goes_on_until_it_wins(records):
    move = promote("digits", 1, records=Racing(records, 5), clock=Clock())
    assert (move.number, move.previous, records.aliases("digits")) == (1, 3, {"production": 1})


def test_promoting_gives_up_where_others_are_always_faster(records):
    with pytest.raises(ConflictError):
        promote("digits", 1, records=Racing(records, 10_000), clock=Clock())


def test_rolling_back_does_not_race_on(records, tools):
    for number in (1, 2):
        promote("digits", number, **tools)
    with pytest.raises(ConflictError):
        rollback("digits", records=Racing(records, 1), clock=Clock())
    assert records.aliases("digits") == {"production": 3}


def test_repeated_rollbacks_walk_back_and_then_say_that_nothing_is_left(records, tools):
    for number in (1, 2, 4):
        promote("digits", number, **tools)
    assert [rollback("digits", **tools).number for _ in range(2)] == [2, 1]
    with pytest.raises(NotFoundError, match="nothing to roll back to"):
        rollback("digits", **tools)
    assert [move.reason for move in records.alias_history("digits", "production")] == ["promote"] * 3 + ["rollback"] * 2


def test_a_rollback_passes_over_what_was_retired_and_says_where_nothing_is_left(records, tools):
    for number in (1, 2, 3, 4):
        promote("digits", number, **tools)
    for number in (3, 2):
        records.retire_version("digits", number, at=9.0, reason="old")
    with pytest.raises(NotFoundError, match="digits:2 was retired"):
        rollback("digits", to=2, **tools)
    assert rollback("digits", **tools).number == 1
    promote("digits", 4, **tools)
    records.retire_version("digits", 1, at=9.0, reason="old")
    with pytest.raises(NotFoundError, match="was retired: digits:1") as caught:
        rollback("digits", **tools)
    assert "fairlead versions digits" in caught.value.hint


def test_a_promotion_after_a_rollback_goes_back_to_what_stood(records, tools):
    for number in (1, 2, 3):
        promote("digits", number, **tools)
    rollback("digits", **tools)
    promote("digits", 4, **tools)
    assert [rollback("digits", **tools).number for _ in range(2)] == [2, 1]


def test_rolling_back_leaves_other_aliases_alone(records, tools):
    for alias, number in (("production", 1), ("staging", 2), ("production", 2), ("staging", 3)):
        promote("digits", number, alias=alias, **tools)
    assert rollback("digits", alias="staging", **tools).number == 2
    assert records.aliases("digits") == {"production": 2, "staging": 2}


def test_rolling_back_what_does_not_exist_is_refused(records, tools):
    with pytest.raises(NotFoundError, match=r"Nothing is registered as 'digit'.*Did you mean digits"):
        rollback("digit", **tools)
    with pytest.raises(NotFoundError, match="has no alias 'production'"):
        rollback("digits", **tools)
    with pytest.raises(SpecError):
        rollback("digits", alias="@", **tools)


actions = st.lists(st.integers(1, 4) | st.just("back"), max_size=30)


def play(steps: list[int | str]) -> tuple[list[AliasMove], list[tuple[int, ...]]]:
    """Return the history that promotions and rollbacks make, and the trail after each."""
    history: list[AliasMove] = []
    trails = []
    for step in steps:
        trail = standing(history)
        if step == "back" and len(trail) < 2:
            continue
        number, reason = (trail[-2], "rollback") if step == "back" else (step, "promote")
        history.append(AliasMove("m", "a", number, trail[-1] if trail else 0, 0.0, len(history) + 1, reason))
        trails.append(standing(history))
    return history, trails


@given(actions)
def test_the_trail_ends_where_the_alias_points_and_never_repeats_itself(steps):
    history, trails = play(steps)
    for move, trail in zip(history, trails, strict=True):
        assert trail[-1] == move.number
        assert all(one != next_one for one, next_one in itertools.pairwise(trail))


@given(actions.filter(lambda steps: any(step != "back" for step in steps)), st.lists(st.integers(1, 4), max_size=10))
def test_rollbacks_undo_the_promotions_before_them_exactly(steps, promotions):
    before = standing(play(steps)[0])
    added = len(standing(play([*steps, *promotions])[0])) - len(before)
    assert standing(play([*steps, *promotions, *["back"] * added])[0]) == before


@given(actions)
def test_rollbacks_alone_come_to_an_end(steps):
    history, _ = play(steps)
    _, trails = play([*steps, *["back"] * 100])
    if history:
        assert trails[-1] == standing(history)[:1]


def test_a_rollback_further_back_takes_away_all_that_came_after():
    moves = [(1, "promote"), (2, "promote"), (3, "promote"), (1, "rollback")]
    assert standing(AliasMove("m", "a", number, 0, 0.0, 1, reason) for number, reason in moves) == (1,)
