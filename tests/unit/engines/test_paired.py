"""Two engines timed in pairs, on a clock that only they move."""

from __future__ import annotations

import itertools
import random

import numpy as np

from fairlead.core.interface import Interface
from fairlead.core.paired import Outcome
from fairlead.engines.paired import PairLimits, decide_faster

ROWS = {"x": np.zeros((1, 2), np.float32)}


class World:
    """A clock, and engines that move it. Where a model comes to lie is drawn anew for each opening, and makes it up to 5 % slower."""

    def __init__(self, seed: int = 0) -> None:
        self.now_s, self.open_count = 0.0, 0
        self.source = random.Random(seed)

    def clock(self) -> float:
        return self.now_s

    def opener(self, call_ms: float):
        return lambda: Model(self, call_ms * (1 + 0.05 * self.source.random()))


class Model:
    description = "a model"
    interface = Interface((), ())

    def __init__(self, world: World, call_ms: float) -> None:
        world.open_count += 1
        world.now_s += 0.005
        self.world, self.call_ms = world, call_ms

    def run(self, inputs, outputs=()):
        self.world.now_s += self.call_ms / 1000 * (1 + 0.02 * self.world.source.random())
        return {}

    def close(self) -> None:
        self.world.open_count -= 1


def test_the_faster_model_is_found_and_everything_is_closed() -> None:
    world = World()

    comparison = decide_faster(world.opener(1.0), world.opener(1.5), ROWS, clock=world.clock)

    assert comparison.outcome is Outcome.FASTER
    assert 0.6 < comparison.ratio < 0.75
    assert world.open_count == 0


def test_the_order_of_arguments_does_not_matter() -> None:
    world = World()

    assert decide_faster(world.opener(1.5), world.opener(1.0), ROWS, clock=world.clock).outcome is Outcome.SLOWER


def test_how_a_model_lies_in_memory_is_not_taken_for_a_difference() -> None:
    worlds = [World(seed) for seed in range(10)]

    found = [decide_faster(one.opener(1.0), one.opener(1.0), ROWS, PairLimits(time_s=30), clock=one.clock).outcome for one in worlds]

    assert not {Outcome.FASTER, Outcome.SLOWER} & set(found)
    assert Outcome.EQUAL in found


def test_time_and_pairs_are_bounded() -> None:
    world = World()
    limits = PairLimits(time_s=0.2, smallest_effect=0.0)

    comparison = decide_faster(world.opener(1.0), world.opener(1.0), ROWS, limits, clock=world.clock)

    assert world.now_s < 0.4
    assert comparison.outcome is Outcome.OPEN
    assert decide_faster(world.opener(1.0), world.opener(9.0), ROWS, PairLimits(pair_count=3), clock=world.clock).pair_count == 3


def test_where_opening_is_slow_the_dozen_pairs_that_say_anything_are_still_taken() -> None:
    world = World()

    def slowly(call_ms: float):
        def open_it():
            world.now_s += 0.1
            return world.opener(call_ms)()

        return open_it

    comparison = decide_faster(slowly(2.0), slowly(1.0), ROWS, PairLimits(time_s=1.0), clock=world.clock)

    assert comparison.outcome is Outcome.SLOWER
    assert 1.0 < world.now_s < 5.5


def test_an_engine_that_fails_is_closed() -> None:
    world = World()
    failing = world.opener(1.0)
    calls = itertools.count()

    def open_it():
        model = failing()
        if next(calls) == 3:
            model.run = lambda inputs, outputs=(): 1 / 0
        return model

    try:
        decide_faster(open_it, world.opener(1.0), ROWS, clock=world.clock)
    except ZeroDivisionError:
        assert world.open_count == 0
    else:
        raise AssertionError("the failure was swallowed")
