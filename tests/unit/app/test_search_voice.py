"""What a person reads while trials run."""

from __future__ import annotations

import math

from fairlead.app.search_voice import SearchVoice


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None: ...
    def done(self, text: str) -> None: ...
    def tell(self, text: str) -> None:
        self.lines.append(text)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def voice(ends_at: float = math.inf) -> tuple[SearchVoice, Listener, Clock]:
    listener, clock = Listener(), Clock()
    return SearchVoice(listener, ends_at, clock), listener, clock


def test_what_training_says_is_passed_on_beside_the_trials_that_say_nothing() -> None:
    spoken, listener, clock = voice()
    spoken.started("prune_structured")
    spoken.started("store_int8")
    clock.now += 7
    spoken.said("prune_structured", "epoch 3 of 20:\n loss 0.1200")
    assert listener.lines[-1] == "prune_structured: epoch 3 of 20: loss 0.1200; store_int8: 7 s"


def test_the_time_that_is_left_is_said_and_never_below_zero() -> None:
    spoken, listener, clock = voice(ends_at=400.0)
    spoken.started("clean_graph")
    assert listener.lines[-1] == "clean_graph: 0 s; 5 min left"
    clock.now = 350.0
    spoken.tick()
    assert listener.lines[-1] == "clean_graph: 250 s; 50 s left"
    clock.now = 500.0
    spoken.tick()
    assert listener.lines[-1].endswith("; 0 s left")


def test_nothing_is_said_once_all_have_ended_nor_for_a_trial_that_is_over() -> None:
    spoken, listener, _ = voice()
    spoken.started("a")
    spoken.ended("a")
    count = len(listener.lines)
    spoken.said("a", "late")
    spoken.tick()
    assert len(listener.lines) == count


def test_a_chatty_pass_keeps_to_its_room() -> None:
    spoken, listener, _ = voice()
    spoken.started("a")
    spoken.said("a", "x" * 5000)
    assert len(listener.lines[-1]) < 150
