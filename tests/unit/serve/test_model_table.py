import pytest

from fairlead.errors import CorruptError, NotFoundError, UnavailableError
from fairlead.serve.model_table import ModelTable, ServedVersion, State


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
    assert table.are_all_ready()


def test_a_model_that_loads_or_failed_is_unavailable_and_not_ready(table, fakes) -> None:
    table.begin_load(fakes.version("m", 1))
    with pytest.raises(UnavailableError, match="loading"):
        table.resolve("m")
    table.fail_load(fakes.version("m", 1), CorruptError("/secret/path differs"))
    with pytest.raises(UnavailableError, match="corrupt") as caught:
        table.resolve("m")
    assert "/secret" not in str(caught.value)
    assert not table.are_all_ready()


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
