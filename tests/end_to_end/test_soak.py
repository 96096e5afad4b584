"""The soak's invariants are watched by something that sees: a fault of each kind is planted in what a good run saw, and found."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from soak_invariants import Answer, Evidence, grown, violations

BOUND_S = 2.0


def good() -> Evidence:
    """Version 2 is promoted at 10 s, version 1 at 20 s; every answer is of the version of its time."""
    answers = [Answer(at / 10, at / 10 + 0.01, 200, 1 if at < 100 or at >= 200 else 2) for at in range(300)]
    return Evidence(
        answers=[*answers, Answer(5.0, 5.1, 503, text="no worker")],
        bad_statuses=Counter({400: 5}),
        promotions=[(10.0, 2), (20.0, 1)],
        kill_count=3,
        is_live=[True] * 30,
        memory_bytes=[100 * 2**20 + (number % 3) * 2**20 for number in range(40)],
        descriptors=[20, 30, 22],
        exit_status=0,
    )


def test_what_a_good_run_saw_breaks_nothing() -> None:
    assert violations(good(), BOUND_S) == []


WRONG_ROW = Answer(1.0, 1.1, 200, 1, is_right=False, text="another caller's row")
PLANTED = {
    "another caller's row": {"answers": [*good().answers, WRONG_ROW]},
    "a 500": {"answers": [*good().answers, Answer(1.0, 1.1, 500, text="fault")]},
    "a request that was lost": {"lost": ["connection reset"]},
    "a request that waited": {"answers": [*good().answers, Answer(1.0, 40.0, 503)]},
    "a version that was replaced": {"answers": [*good().answers, Answer(15.0, 15.1, 200, 1)]},
    "a bad request that was taken": {"bad_statuses": Counter({400: 5, 200: 1})},
    "a bad request that was a fault": {"bad_statuses": Counter({500: 1})},
    "a moment without life": {"is_live": [True, False]},
    "a server that is blind for long": {"unready_s": 60.0},
    "memory that grows": {"memory_bytes": [100 * 2**20 + number * 8 * 2**20 for number in range(40)]},
    "descriptors that stay": {"descriptors": [20, 60]},
    "a server that does not end well": {"exit_status": None},
    "no answers at all": {"answers": []},
    "a promotion that failed": {"faults": ["promote failed"]},
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name) -> None:
    assert len(violations(replace(good(), **PLANTED[name]), BOUND_S)) == 1


def test_an_answer_of_the_version_before_is_right_within_the_bound_and_while_it_is_replaced() -> None:
    soon = Answer(11.0, 11.1, 200, 1)
    across = Answer(19.9, 20.1, 200, 1)
    assert violations(replace(good(), answers=[*good().answers, soon, across]), BOUND_S) == []


def test_growth_is_that_of_the_second_half() -> None:
    assert grown([0] * 20 + [50] * 20) == 0  # what a warm server needs
    assert grown([0] * 20 + [0] * 10 + [64] * 10) == 64
    assert grown([1, 2]) == 0
