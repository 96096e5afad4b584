"""So many a second, and exact counts of the others."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairlead.monitor.ration import Ration


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=100), st.integers(1, 5))
def test_what_is_told_and_what_is_counted_are_together_what_happened(events, limit) -> None:
    counted: Counter[str] = Counter()
    ration = Ration(limit, lambda counts, _at: counted.update(counts))
    events.sort(key=lambda event: event[1])
    told = Counter({"a": 0, "b": 0})
    seconds: Counter[int] = Counter()
    for kind, second in events:
        if ration.allows(kind, second + 1.5):
            told[kind] += 1
            seconds[second] += 1
    ration.close(99.0)
    assert told + counted == Counter(kind for kind, _ in events)
    assert all(count <= limit for count in seconds.values())


def test_the_count_comes_when_the_second_is_over_though_nothing_else_happens() -> None:
    counts, said = [], threading.Event()

    def tell(found, at) -> None:
        counts.append((dict(found), at))
        said.set()

    ration = Ration(1, tell)
    assert [ration.allows("a", 5.0) for _ in range(4)] == [True, False, False, False]
    assert said.wait(30)
    assert counts == [({"a": 3}, 6.0)]
    assert [ration.allows("a", 7.0) for _ in range(2)] == [True, False]
    ration.close(8.0)
    assert counts[1:] == [({"a": 1}, 8.0)]
