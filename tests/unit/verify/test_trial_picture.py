"""Where trials lie in the picture: better is lower and further left, whatever their values, and nothing falls outside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.plan import Candidate
from fairlead.core.search import Objective, PointStatus, SearchPoint, SearchResult
from fairlead.verify.trial_picture import draw_trials


def point(name: str, size: int, latency: float | None, status: PointStatus = PointStatus.KEPT) -> SearchPoint:
    return SearchPoint(Candidate(name, (), "onnxruntime", 1, ""), name, status, size_bytes=size, latency_ms=latency)


def search(*points: SearchPoint, best: str = "", baseline: str = "", pareto: tuple[str, ...] = ()) -> SearchResult:
    return SearchResult(points, baseline, best, pareto, Objective.LATENCY, 0, 60.0, 12.0, "the time was up")


TRIALS = st.lists(st.tuples(st.integers(1, 10**12), st.floats(1e-6, 1e6)), min_size=1, max_size=12)


@given(TRIALS)
def test_every_dot_and_tick_lies_within_the_picture_and_in_order(trials: list[tuple[int, float]]) -> None:
    points = [point(str(number), size, latency) for number, (size, latency) in enumerate(trials)]
    picture = draw_trials(search(*points))
    assert picture is not None
    places = {dot.name: dot for dot in picture.dots}
    for dot in picture.dots:
        assert picture.left <= dot.x <= picture.right
        assert picture.top <= dot.y <= picture.bottom
    for first in points:
        for second in points:
            if (first.latency_ms or 0) < (second.latency_ms or 0):
                assert places[first.candidate.name].x <= places[second.candidate.name].x
            if first.size_bytes < second.size_bytes:
                assert places[first.candidate.name].y >= places[second.candidate.name].y
    assert all(picture.left <= tick.place <= picture.right for tick in picture.across)
    assert all(picture.top <= tick.place <= picture.bottom for tick in picture.upward)
    assert 1 <= len(picture.across) <= 8


def test_a_scale_that_is_common_is_labelled_with_round_numbers() -> None:
    picture = draw_trials(search(point("a", 1000, 0.01), point("b", 2_000_000, 0.1)))
    assert picture is not None
    assert [tick.text for tick in picture.across] == ["0.01 ms", "0.02 ms", "0.05 ms", "0.1 ms"]
    assert "1 kB" in [tick.text for tick in picture.upward]


def test_what_stands_out_is_drawn_last_and_what_has_no_place_is_counted() -> None:
    found = search(
        point("small", 10, 1.0),
        point("base", 100, 2.0),
        point("slow", 50, 3.0, PointStatus.REJECTED),
        point("crash", 0, None, PointStatus.FAILED),
        best="small",
        baseline="base",
        pareto=("small",),
    )
    picture = draw_trials(found)
    assert picture is not None
    assert [dot.kind for dot in picture.dots] == ["rejected", "baseline", "best"]
    assert picture.missing_count == 1


def test_without_a_timed_trial_there_is_no_picture() -> None:
    assert draw_trials(search(point("crash", 0, None, PointStatus.FAILED))) is None
