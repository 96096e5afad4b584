"""The false-alarm budget: evidence is fair while nothing changes, changes in used features are found, unused ones stay silent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.profile import FeatureProfile, Profile
from fairlead.core.sketch import Tally
from fairlead.errors import SpecError
from fairlead.monitor.drift import detector
from fairlead.monitor.drift.alarm import Alarm, Aspect
from fairlead.monitor.drift.budget import WatchOptions, divide, log_threshold
from fairlead.monitor.drift.events import DOUBT, gained_cells, half_lines, partition, rare_events, single_cells
from fairlead.monitor.drift.movement import movement
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.drift.watch import DriftWatch, shape_bets, value_bets
from fairlead.monitor.sketch.update import empty, update

ROWS = 4000
RNG = np.random.default_rng(0)
AGE = replace(profile_column("age", RNG.normal(size=ROWS), input_name="x"), use=0.5)
NOISE = replace(profile_column("noise", RNG.normal(size=ROWS), input_name="x"), use=0.0)
COLOUR = profile_column("colour", RNG.choice(np.array(["red", "green", "blue"], object), ROWS), input_name="c")
WHOLE = profile_column("count", RNG.integers(0, 20, ROWS).astype(float), input_name="n")


def profile(*features: FeatureProfile) -> Profile:
    return Profile(features, (), ROWS, "rows")


def watch(windows: list[dict[str, np.ndarray]], known: Profile, options: WatchOptions | None = None) -> list[Alarm]:
    watched = DriftWatch(known, options)
    alarms = []
    for number, columns in enumerate(windows):
        sketches = {name: update(empty(known.feature(name)), known.feature(name), values) for name, values in columns.items()}
        alarms += watched.step(number * 3600.0, (number + 1) * 3600.0, sketches)
    return alarms


class TestEvents:
    def test_coarse_cells_hold_every_count_once(self) -> None:
        for feature in (AGE, COLOUR, WHOLE):
            part = partition(feature)
            assert part.coarse(feature.cells).sum() == feature.cells.sum()
            assert part.count <= 16

    def test_cells_of_a_number_keep_their_order_and_are_of_one_size(self) -> None:
        part = partition(AGE)
        assert (np.diff(part.places) >= 0).all()
        assert np.ptp(part.coarse(AGE.cells)) <= ROWS / 16 * 0.1

    def test_small_categories_are_put_together_and_the_unseen_stay_alone(self) -> None:
        texts = np.array([f"c{number}" for number in range(40) for _ in range(number + 1)], object)
        feature = profile_column("c", texts, input_name="c")
        part = partition(feature)
        assert part.count == 16
        assert part.places[-1] == 15
        assert (part.places == 15).sum() == 1
        assert (part.places == 14).sum() == 27  # 26 small categories and the rest

    @pytest.mark.parametrize(("names", "rows", "effect"), [(200, 200, 0.0), (200, 500, 0.1), (60, 300, 0.0), (400, 3000, 0.0)])
    def test_categories_that_a_reference_happens_to_lack_are_no_drift(self, names: int, rows: int, effect: float) -> None:
        chances = 1.0 / np.arange(1, names + 1)
        generator, texts = np.random.default_rng(names + rows), np.array([f"c{number}" for number in range(names)], object)

        def draw(count: int) -> np.ndarray:
            return texts[generator.choice(names, count, p=chances / chances.sum())]

        feature = profile_column("c", draw(rows), input_name="c")
        options = WatchOptions(effect=effect)
        live = [draw(100) for _ in range(40)]
        assert watch([{"c": values} for values in live], profile(feature), options) == []
        assert movement(feature, update(empty(feature), feature, np.concatenate(live))).moved < 0.12  # 22 % were not there at release
        half = [np.where(np.arange(100) % 2, values, "new") for values in live]
        found = watch([{"c": values.astype(object)} for values in half], profile(feature), options)
        assert {alarm.aspect for alarm in found} >= {Aspect.SHAPE if feature.rest else Aspect.UNSEEN}

    def test_limits_hold_for_references_drawn_from_the_same_data(self) -> None:
        generator = np.random.default_rng(1)
        true = np.full(16, 1 / 16)
        references = generator.multinomial(500, true, size=2000).astype(float)
        for events in (half_lines(references, 0.0), single_cells(references, 0.0)):
            passed = (events.members @ true > events.limits).any(axis=-1)
            assert passed.mean() <= DOUBT * 1.5
        live = generator.multinomial(100_000, true, size=2000).astype(float)
        chosen = gained_cells(references, live, 0.0)  # the worst set that live rows can point at
        assert ((chosen.members @ true)[..., 0] > chosen.limits[..., 0]).mean() <= DOUBT

    def test_limits_of_rare_events_hold(self) -> None:
        generator = np.random.default_rng(2)
        for chance in (0.0005, 0.01, 0.3):
            shares = generator.binomial(1000, chance, size=(4000, 1)) / 1000
            assert (rare_events(shares, np.array([1000.0]), 0.0)[:, 0] < chance).mean() <= DOUBT

    def test_who_knows_little_of_the_reference_bets_on_little(self) -> None:
        few = half_lines(np.full(16, 1.0), 0.1).limits
        assert few.max() == 1.0
        assert (few >= half_lines(np.full(16, 1000.0), 0.1).limits).all()


class TestDetector:
    @settings(max_examples=60, deadline=None)
    @given(chance=st.floats(0.01, 0.99), below=st.floats(0.0, 1.0), trials=st.integers(1, 30))
    def test_a_bet_multiplies_wealth_by_one_on_average_at_most(self, chance: float, below: float, trials: int) -> None:
        true = chance * below
        hits = np.arange(trials + 1)
        odds = np.array([math.comb(trials, hit) * true**hit * (1 - true) ** (trials - hit) for hit in hits])
        bets = detector.log_bets(hits[:, None], np.full((trials + 1, 1), trials), np.array([chance]))
        assert (odds @ np.exp(bets) <= 1 + 1e-9).all()
        if below == 1.0:
            assert odds @ np.exp(bets) == pytest.approx(1.0)

    def test_weights_are_those_of_one_bettor(self) -> None:
        assert np.exp(detector.even_weights(12, 5)).sum() == pytest.approx(1.0)
        assert np.exp(detector.even_weights(12, 5))[:12].sum() == pytest.approx(0.5)

    def test_false_alarms_are_as_rare_as_the_threshold_says(self) -> None:
        """At the edge of what is allowed, where the bound is tight: T / c alarms in T windows on average at most."""
        generator = np.random.default_rng(3)
        threshold, windows, runs = 20.0, 200, 400
        state, weights = detector.begin(7, runs), detector.even_weights(7)
        alarms = 0
        for _ in range(windows):
            hits = generator.binomial(10, 0.3, size=(runs, 1))
            state = detector.step(state, detector.log_bets(hits, np.full((runs, 1), 10), np.array([0.3])))
            is_alarm = detector.log_evidence(state, weights) >= math.log(threshold)
            alarms += int(is_alarm.sum())
            state = replace(state, logs=np.where(is_alarm[:, None], -np.inf, state.logs))
        assert 0.2 * windows / threshold < alarms / runs <= windows / threshold

    def test_the_control_a_test_each_window_breaks_any_budget(self) -> None:
        generator = np.random.default_rng(3)
        hits = generator.binomial(100, 0.3, size=(400, 200))
        assert (np.abs(hits - 30) > 1.96 * math.sqrt(21)).sum(axis=1).mean() > 5

    def test_who_begins_later_has_less_evidence(self) -> None:
        generator = np.random.default_rng(4)
        early, late = detector.begin(7), detector.begin(7)
        for window in range(50):
            bets = detector.log_bets(generator.binomial(20, 0.4, size=1), np.array([20]), np.array([0.3]))
            early = detector.step(early, bets)
            late = detector.step(late, bets) if window >= 20 else late
            assert (late.logs <= early.logs + 1e-9).all()

    def test_the_onset_is_where_the_change_began(self) -> None:
        state, weights = detector.begin(7), detector.even_weights(7)
        for window in range(40):
            hits = np.array([60 if window >= 25 else 10])
            state = detector.step(state, detector.log_bets(hits, np.array([100]), np.array([0.3])))
        assert detector.onset(state, weights) == 25


class TestBudget:
    def test_shares_never_exceed_the_whole_and_follow_use(self) -> None:
        shares = divide(profile(AGE, NOISE, COLOUR))
        assert shares.total <= 1.0
        assert "noise" not in shares.shape
        known = divide(profile(AGE, replace(COLOUR, use=0.1)))
        assert known.shape["age"] == pytest.approx(5 * known.shape["colour"])

    def test_all_thresholds_together_spend_the_budget_at_most(self) -> None:
        options = WatchOptions(alarms_per_month=3.0, window_s=7200.0)
        shares = divide(profile(AGE, COLOUR, WHOLE))
        granted = [*shares.shape.values(), *shares.values.values()]
        windows = 30 * 86_400 / 7200.0
        assert sum(windows / math.exp(log_threshold(share, options)) for share in granted) <= 3.0
        assert log_threshold(0.0, options) == math.inf

    @pytest.mark.parametrize(
        "wrong",
        [{"alarms_per_month": 0.0}, {"alarms_per_month": math.nan}, {"effect": 1.0}, {"effect": -0.1}, {"window_s": 1.0}],
    )
    def test_a_budget_that_means_nothing_is_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(SpecError):
            WatchOptions(**wrong)


class TestWatch:
    def test_data_like_the_releases_raises_no_alarm(self) -> None:
        generator = np.random.default_rng(5)
        windows = [{"age": generator.normal(size=500), "colour": generator.choice(COLOUR.categories, 500)} for _ in range(60)]
        assert watch(windows, profile(AGE, COLOUR)) == []

    def test_a_shift_in_a_used_feature_is_found_and_in_an_unused_one_it_is_not(self) -> None:
        generator = np.random.default_rng(6)
        windows = [{name: generator.normal(0.5 * (hour >= 24), size=200) for name in ("age", "noise")} for hour in range(48)]
        alarms = watch(windows, profile(AGE, NOISE))
        assert {alarm.feature for alarm in alarms} == {"age"}
        assert alarms[0].aspect is Aspect.SHAPE
        assert alarms[0].at <= 36 * 3600
        assert 22 * 3600 <= alarms[0].since <= 28 * 3600

    def test_more_spread_is_found_by_the_cells_that_gained(self) -> None:
        generator = np.random.default_rng(7)
        assert watch([{"age": generator.normal(0, 2.0, size=400)} for _ in range(30)], profile(AGE))

    @pytest.mark.parametrize(
        ("feature", "values", "aspect"),
        [
            (AGE, np.where(np.arange(300) % 10 == 0, np.nan, 0.1), Aspect.MISSING),
            (AGE, np.where(np.arange(300) % 20 == 0, 1e6, np.random.default_rng(8).normal(size=300)), Aspect.OUTSIDE),
            (COLOUR, np.array(["red", "green", "blue"] * 95 + ["pink"] * 15, object), Aspect.UNSEEN),
            (WHOLE, np.concatenate([np.arange(280) % 20, np.full(20, 3.5)]), Aspect.FRACTIONS),
        ],
    )
    def test_values_that_never_were_are_found(self, feature: FeatureProfile, values: np.ndarray, aspect: Aspect) -> None:
        alarms = watch([{feature.name: values}] * 6, profile(feature))
        assert aspect in {alarm.aspect for alarm in alarms}

    def test_a_flood_of_unknown_categories_is_one_matter(self) -> None:
        flood = np.array([f"new {number}" for number in range(2000)], object)
        assert {alarm.aspect for alarm in watch([{"colour": flood}], profile(COLOUR))} == {Aspect.SHAPE, Aspect.UNSEEN}

    def test_a_constant_feature_is_watched_for_other_values(self) -> None:
        constant = profile_column("k", np.full(1000, 7.0), input_name="k")
        assert watch([{"k": np.full(500, 7.0)}] * 5, profile(constant)) == []
        assert {alarm.aspect for alarm in watch([{"k": np.full(500, 8.0)}], profile(constant))} == {Aspect.OUTSIDE}

    def test_rows_of_one_request_are_no_more_evidence_than_one(self) -> None:
        shifted = np.full(1000, 2.5)
        known = profile(AGE)
        for weights, is_found in ((np.full(1000, 1 / 1000), False), (None, True)):
            sketch = update(empty(AGE), AGE, shifted, weights)
            assert bool(DriftWatch(known).step(0.0, 1.0, {"age": sketch})) is is_found

    def test_a_reference_of_the_season_takes_the_profiles_place(self) -> None:
        shifted = update(empty(AGE), AGE, np.random.default_rng(9).normal(2.0, 1.0, 2000)).by_request
        generator = np.random.default_rng(10)
        watched = DriftWatch(profile(AGE))
        for hour in range(10):
            sketch = update(empty(AGE), AGE, generator.normal(2.0, 1.0, 500))
            season = {"age": replace(shifted, outside=shifted.outside, missing=0.0)}
            assert watched.step(hour * 3600.0, hour * 3600.0 + 3600, {"age": sketch}, season) == []

    def test_what_a_reference_never_had_is_no_evidence(self) -> None:
        bets = value_bets(COLOUR, Tally(10, 5, cells=np.array([0, 0, 0, 0, 5.0])), Tally(0, 0, cells=np.zeros(5)), 0.01)
        assert (bets <= 0).all()

    def test_many_windows_are_computed_at_once(self) -> None:
        part = partition(AGE)
        reference = part.coarse(AGE.cells)
        live = np.random.default_rng(11).multinomial(100, reference / reference.sum(), size=(3, 5)).astype(float)
        seen = np.zeros_like(live)
        together, after = shape_bets(part, reference, live, seen, 0.1)
        alone, one = shape_bets(part, reference, live[1, 2], seen[1, 2], 0.1)
        assert np.allclose(together[1, 2], alone)
        assert np.allclose(after[1, 2], one)
