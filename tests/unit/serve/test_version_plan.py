import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.aspired import Aspired, alone
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.errors import CorruptError
from fairlead.serve.version_plan import Failure, Plan, Standing, next_failure, plan_model

BROKEN = CorruptError("a digest differs")


def version(number: int, content: int = 0) -> Version:
    return Version("m", number, Manifest((FileEntry("model.onnx", 1, f"{content:064x}"),)), 0.0)


def wanting(*numbers: int, default: int = 0, **aliases: int) -> Aspired:
    return Aspired("m", tuple(map(version, numbers)), default or (numbers[0] if numbers else 0), aliases)


def having(*numbers: int, default: int = 0, **labels: int) -> Standing:
    return Standing({number: version(number) for number in numbers}, default or (numbers[0] if numbers else 0), labels)


def test_what_is_wanted_and_absent_is_loaded() -> None:
    assert plan_model(alone(version(1), "production"), Standing(), (), {}, 0.0) == Plan((version(1),), 1)


def test_what_is_served_as_wanted_is_left_alone() -> None:
    assert plan_model(wanting(1, production=1), having(1, production=1), (), {}, 0.0) == Plan((), 1, {"production": 1})


def test_what_answers_by_default_is_loaded_first() -> None:
    plan = plan_model(wanting(1, 2, 3, default=2), Standing(), (), {}, 0.0)
    assert [item.number for item in plan.load] == [2, 1, 3]


def test_a_moved_alias_keeps_the_old_version_answering_until_the_new_one_is_there() -> None:
    before = plan_model(wanting(2, production=2), having(1, production=1), (), {}, 0.0)
    assert before == Plan((version(2),), 1, {"production": 1})
    after = plan_model(wanting(2, production=2), having(1, 2, production=1), (), {}, 0.0)
    assert after == Plan((), 2, {"production": 2}, (1,))


def test_a_version_that_cannot_be_loaded_keeps_everything_that_is_there() -> None:
    failures = {5: Failure(version(5), 1, 10.0, BROKEN)}
    plan = plan_model(wanting(4, 5, default=4), having(3, 4, default=3), (), failures, 0.0)
    assert plan == Plan((), 4, {}, ())


def test_a_label_that_points_at_what_is_not_served_here_is_no_label() -> None:
    plan = plan_model(wanting(3, production=3, staging=4), having(3, production=3, staging=3), (), {}, 0.0)
    assert plan.labels == {"production": 3}


def test_a_model_that_is_not_wanted_goes_altogether() -> None:
    assert plan_model(wanting(), having(1, 2, production=1), (), {}, 0.0) == Plan(unload=(1, 2))


def test_a_version_that_is_loading_is_not_loaded_twice() -> None:
    assert plan_model(wanting(2), having(1), (version(2),), {}, 0.0).load == ()


def test_a_failed_version_waits_and_another_one_does_not() -> None:
    failures = {2: Failure(version(2), 1, 10.0, BROKEN)}
    assert plan_model(wanting(2), Standing(), (), failures, 9.9).load == ()
    assert plan_model(wanting(2), Standing(), (), failures, 10.0).load == (version(2),)
    assert plan_model(wanting(3), Standing(), (), failures, 0.0).load == (version(3),)


def test_the_same_number_with_other_content_is_another_version() -> None:
    plan = plan_model(Aspired("m", (version(1, 7),), 1, {"production": 1}), having(1, production=1), (), {}, 0.0)
    assert plan == Plan((version(1, 7),), 1, {"production": 1})


def test_retries_come_later_each_time_and_never_later_than_five_minutes() -> None:
    failure, waits = None, []
    for _ in range(12):
        failure = next_failure(version(1), BROKEN, failure, 0.0)
        waits.append(failure.retry_at)
    assert waits == sorted(waits)
    assert waits[0] == 5.0
    assert waits[-1] == 300.0
    assert next_failure(version(1, 9), BROKEN, failure, 0.0).count == 1


numbers = st.sets(st.integers(1, 5), max_size=4)
labels = st.dictionaries(st.sampled_from(["production", "staging"]), st.integers(1, 5))


@st.composite
def aspirations(draw) -> Aspired:
    chosen = sorted(draw(numbers))
    default = draw(st.sampled_from(chosen)) if chosen else 0
    return Aspired("m", tuple(map(version, chosen)), default, draw(labels))


@st.composite
def standings(draw) -> Standing:
    there = sorted(draw(numbers))
    pointers = {alias: number for alias, number in draw(labels).items() if number in there}
    contents = {number: version(number, draw(st.integers(0, 1))) for number in there}
    return Standing(contents, draw(st.sampled_from(there)) if there else 0, pointers)


@given(aspirations(), standings(), numbers, numbers)
def test_nothing_that_answers_goes_before_all_that_is_wanted_is_there(aspired, standing, loading, failed) -> None:
    failures = {number: Failure(version(number), 1, 10.0, BROKEN) for number in failed}
    plan = plan_model(aspired, standing, tuple(map(version, loading)), failures, 0.0)
    stays = set(standing.versions) - set(plan.unload)
    assert not {item.number for item in plan.load} & (loading | failed)
    assert {item.number for item in plan.load} <= {item.number for item in aspired.versions}
    assert set(plan.labels.values()) <= stays
    assert all(number in {aspired.aliases[alias], standing.labels.get(alias)} for alias, number in plan.labels.items())
    if aspired.versions:
        assert {item.number for item in aspired.versions} & set(standing.versions) <= stays
        if any(standing.versions.get(item.number) != item for item in aspired.versions):
            assert plan.unload == ()
        if standing.default:
            assert plan.default in stays
    else:
        assert stays == set()


@given(aspirations(), standings())
def test_once_everything_loads_what_serves_is_what_is_wanted(aspired, standing) -> None:
    there = dict(standing.versions)
    for _ in range(2):
        plan = plan_model(aspired, Standing(there, standing.default, standing.labels), (), {}, 0.0)
        there = {number: item for number, item in there.items() if number not in plan.unload}
        there |= {item.number: item for item in plan.load}
    plan = plan_model(aspired, Standing(there, plan.default, plan.labels), (), {}, 0.0)
    assert there == {item.number: item for item in aspired.versions}
    assert (plan.load, plan.unload, plan.default) == ((), (), aspired.default)
    assert plan.labels == {alias: number for alias, number in aspired.aliases.items() if number in there}


@pytest.mark.parametrize("number", [1, 3])
def test_the_default_never_moves_to_a_version_that_is_not_loaded(number) -> None:
    plan = plan_model(wanting(2, number, default=2), having(number), (), {}, 0.0)
    assert plan.default == number
