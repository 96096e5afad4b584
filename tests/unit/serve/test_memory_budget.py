from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.memory_budget import Resident, choose_victims


def resident(number: int, size: int, used: int, **facts: bool) -> Resident:
    return Resident("m", number, size, used, **facts)


def chosen(*residents: Resident, need: int, budget: int) -> list[int] | None:
    victims = choose_victims(residents, held_bytes=sum(item.memory_bytes for item in residents), need_bytes=need, budget_bytes=budget)
    return None if victims is None else [item.number for item in victims]


def test_without_a_budget_nobody_gives_way() -> None:
    assert chosen(resident(1, 100, 1), need=1000, budget=0) == []


def test_what_was_used_longest_ago_gives_way_first() -> None:
    assert chosen(resident(1, 10, 5), resident(2, 10, 3), resident(3, 10, 4), need=10, budget=30) == [2]
    assert chosen(resident(1, 10, 5), resident(2, 10, 3), resident(3, 10, 4), need=20, budget=30) == [2, 3]


def test_what_is_busy_or_protected_never_gives_way() -> None:
    assert chosen(resident(1, 10, 1, is_busy=True), resident(2, 10, 2, is_protected=True), resident(3, 10, 3), need=10, budget=30) == [3]
    assert chosen(resident(1, 10, 1, is_busy=True), resident(2, 10, 2, is_protected=True), need=10, budget=20) is None


def test_nobody_goes_where_it_would_not_suffice() -> None:
    assert chosen(resident(1, 10, 1), resident(2, 10, 2), need=31, budget=30) is None


def test_what_is_kept_only_for_a_rollback_goes_first() -> None:
    assert chosen(resident(1, 10, 1), resident(2, 10, 9, is_spare=True), need=5, budget=20) == [2]


def test_a_small_old_one_stays_where_a_large_one_suffices() -> None:
    assert chosen(resident(1, 1, 1), resident(2, 50, 2), need=50, budget=51) == [2]


residents = st.lists(st.builds(Resident, st.just("m"), st.integers(), st.integers(0, 50), st.integers(), st.booleans(), st.booleans()))


@given(residents, st.integers(0, 100), st.integers(0, 200), st.integers(0, 20))
def test_the_victims_suffice_and_none_is_superfluous(there, need, budget, others) -> None:
    held = sum(item.memory_bytes for item in there) + others
    victims = choose_victims(there, held_bytes=held, need_bytes=need, budget_bytes=budget)
    free = [item for item in there if not item.is_busy and not item.is_protected]
    if budget == 0:
        assert victims == ()
    elif victims is None:
        assert held - sum(item.memory_bytes for item in free) + need > budget
    else:
        assert all(item in free for item in victims)
        after = held - sum(item.memory_bytes for item in victims) + need
        assert after <= budget
        assert all(after + item.memory_bytes > budget for item in victims)
