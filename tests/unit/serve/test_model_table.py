import pytest

from fairlead.errors import CorruptError, NotFoundError, UnavailableError
from fairlead.serve.model_table import ModelTable, ServedVersion, State
from fairlead.serve.version_plan import Plan


@pytest.fixture
def closed() -> list:
    return []


@pytest.fixture
def table(closed) -> ModelTable:
    return ModelTable(closed.append)


def served(fakes, number: int, name: str = "m") -> ServedVersion:
    return fakes.served(fakes.version(name, number), fakes.Engine(number))


def test_an_unknown_model_is_not_found_and_the_error_lists_what_is_there(table, fakes) -> None:
    table.switch(served(fakes, 1), "production")
    with pytest.raises(NotFoundError, match="Here are: m"):
        table.resolve("zebra")


def test_a_version_is_found_by_number_by_label_and_by_default(table, fakes) -> None:
    entry = served(fakes, 3)
    table.switch(entry, "production")
    assert table.resolve("m") is table.resolve("m", 3) is table.resolve("m", label="production") is entry


def test_an_unknown_version_and_label_are_not_found(table, fakes) -> None:
    table.switch(served(fakes, 3), "production")
    with pytest.raises(NotFoundError, match="Loaded: 3"):
        table.resolve("m", 2)
    with pytest.raises(NotFoundError, match="production"):
        table.resolve("m", label="staging")


def test_a_switch_keeps_the_old_engine_until_its_last_request_has_ended(table, fakes, closed) -> None:
    old, new = served(fakes, 1), served(fakes, 2)
    table.switch(old, "production")
    table.begin_request(old)
    table.begin_request(old)
    table.switch(new, "production")
    assert table.resolve("m") is new
    table.end_request(old)
    assert closed == []
    table.end_request(old)
    assert closed == [old]


def test_an_idle_old_engine_is_closed_at_the_switch(table, fakes, closed) -> None:
    old = served(fakes, 1)
    table.switch(old, "production")
    table.switch(served(fakes, 2), "production")
    assert closed == [old]


def test_loading_and_failing_never_take_the_served_version_away(table, fakes) -> None:
    table.switch(served(fakes, 1), "production")
    table.begin_load(fakes.version("m", 2))
    assert [(state.number, state.state) for state in table.states()] == [(1, State.READY), (2, State.LOADING)]
    table.fail_load(fakes.version("m", 2), CorruptError("a digest differs"))
    assert [(state.number, state.state, state.code) for state in table.states()] == [
        (1, State.READY, ""),
        (2, State.UNAVAILABLE, "corrupt"),
    ]
    assert table.resolve("m").version.number == 1
    assert table.is_ready("m")


def test_a_model_that_loads_or_failed_is_unavailable_and_not_ready(table, fakes) -> None:
    table.begin_load(fakes.version("m", 1))
    with pytest.raises(UnavailableError, match="loading"):
        table.resolve("m")
    table.fail_load(fakes.version("m", 1), CorruptError("/secret/path differs"))
    with pytest.raises(UnavailableError, match="corrupt") as caught:
        table.resolve("m")
    assert "/secret" not in str(caught.value)
    assert not table.is_ready("m")


def test_a_removed_model_is_gone_and_closed(table, fakes, closed) -> None:
    entry = served(fakes, 1)
    table.switch(entry, "production")
    table.remove("m")
    assert closed == [entry]
    with pytest.raises(NotFoundError):
        table.resolve("m")


def test_going_back_to_the_served_version_forgets_the_failed_one(table, fakes) -> None:
    table.switch(served(fakes, 1), "production")
    table.fail_load(fakes.version("m", 2), CorruptError("x"))
    table.settle("m")
    assert [state.number for state in table.states()] == [1]


def test_a_reason_never_holds_the_hint_which_may_name_a_path(table, fakes) -> None:
    table.fail_load(fakes.version("m", 1), CorruptError("File 'x' is missing.", hint="Look at /home/somebody."))
    assert [(state.code, state.reason) for state in table.states()] == [("corrupt", "File 'x' is missing.")]


def test_a_version_that_still_answers_is_unloading_until_its_last_request_has_ended(table, fakes, closed) -> None:
    entry = served(fakes, 1)
    table.switch(entry, "production")
    table.begin_request(entry)
    table.remove("m")
    assert [(state.number, state.state) for state in table.states()] == [(1, State.UNLOADING)]
    table.end_request(entry)
    assert table.states() == ()
    assert closed == [entry]


def test_versions_are_entered_beside_each_other_and_arranged_in_one_step(table, fakes, closed) -> None:
    for number in (1, 2, 3):
        table.enter(served(fakes, number))
    table.arrange("m", Plan((), 2, {"staging": 3}, (1,)))
    assert table.resolve("m").version.number == 2
    assert table.resolve("m", label="staging").version.number == 3
    assert [item.version.number for item in closed] == [1]
    assert table.standing("m").default == 2


def test_what_answered_before_is_kept_as_a_spare_only_as_long_as_it_was_said(table, fakes, closed) -> None:
    first, second = served(fakes, 1), served(fakes, 2)
    table.enter(first)
    table.arrange("m", Plan((), 1))
    table.enter(second)
    table.arrange("m", Plan((), 2, {}, (1,)), spare_until=10.0)
    with pytest.raises(NotFoundError):
        table.resolve("m", 1)
    table.drop_spares(9.9)
    assert closed == []
    assert table.take_spare(fakes.version("m", 2)) is None
    table.drop_spares(10.0)
    assert closed == [first]


def test_a_version_that_takes_the_place_of_another_with_its_number_lets_it_finish(table, fakes, closed) -> None:
    first, again = served(fakes, 1), served(fakes, 1)
    table.switch(first, "production")
    table.begin_request(first)
    table.enter(again)
    assert table.resolve("m") is again
    assert closed == []
    table.end_request(first)
    assert closed == [first]


async def test_a_version_that_sleeps_cannot_be_woken_where_nobody_does_that(table, fakes) -> None:
    with pytest.raises(UnavailableError, match="not in memory"):
        await table.wake(served(fakes, 1), 0.0)
