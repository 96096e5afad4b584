"""Sketches hold what they state: exact counts, ranks within their error, and the same whatever is merged with what in which order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.profile import FeatureKind
from fairlead.core.sketch import SIZE_LIMIT_BYTES, FeatureSketch, Frequent, Quantiles, from_bytes
from fairlead.errors import CorruptError
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.sketch import distinct, frequent, quantiles
from fairlead.monitor.sketch.columns import as_numbers, count_categories
from fairlead.monitor.sketch.update import empty, merge, update

NUMBERS = profile_column("age", np.random.default_rng(0).normal(size=2000), input_name="x")
COLOURS = profile_column("colour", np.array(["red", "green", "blue"] * 50, object), input_name="c")


def sketch_of(values: np.ndarray, profile=NUMBERS, weights: np.ndarray | None = None) -> FeatureSketch:
    return update(empty(profile), profile, values, weights)


def wrong_share(found: Quantiles, values: np.ndarray, times: float = 1.0) -> float:
    """Return the largest error of a rank, at many values of which each was seen so often, as a share."""
    points = np.quantile(values, np.linspace(0, 1, 51))
    true = np.searchsorted(np.sort(values), points, side="right") * times
    return float(np.abs(quantiles.ranks(found, points) - true).max()) / (len(values) * times)


class TestCounts:
    def test_every_value_is_in_one_bin_or_missing(self) -> None:
        values = np.array([0.1, np.nan, -50.0, 50.0, np.inf, NUMBERS.edges[3]])
        found = sketch_of(values).by_row
        assert (found.rows, found.missing, found.outside) == (6, 1, 3)
        assert found.cells.sum() == 5
        assert found.cells[3] >= 1  # a value on an edge belongs below it
        assert found.cells[-1] == 2

    def test_counts_agree_with_the_profile_of_the_same_values(self) -> None:
        values = np.random.default_rng(0).normal(size=2000)
        assert sketch_of(values).by_row.cells.tolist() == list(NUMBERS.counts)

    def test_rows_of_a_request_weigh_as_one_row(self) -> None:
        values = np.array([0.0, 0.0, 0.0, 1.0, np.nan, 99.0])
        weights = np.array([1 / 3, 1 / 3, 1 / 3, 1.0, 0.5, 0.5])
        by_request = sketch_of(values, weights=weights).by_request
        assert by_request.rows == pytest.approx(3.0)
        assert by_request.missing == 0.5
        assert by_request.outside == 0.5
        assert by_request.cells.sum() == pytest.approx(2.5)

    def test_a_category_that_the_profile_does_not_list_is_unseen(self) -> None:
        found = sketch_of(np.array(["red", "pink", None, "blue"], object), COLOURS, np.array([1.0, 0.5, 0.5, 1.0]))
        assert found.by_row.missing == 1
        assert found.by_row.cells[-1] == 1
        assert found.by_request.cells[-1] == 0.5
        assert dict(zip(found.frequent.keys, found.frequent.counts, strict=True)) == {"red": 1, "pink": 1, "blue": 1}

    def test_a_whole_number_and_its_text_are_one_category(self) -> None:
        assert count_categories(np.array([3.0, 3.0, np.nan]))[0] == {"3": 2}
        assert count_categories(np.array([3, "3", True, None], object)) == ({"3": 2, "1": 1}, 1)

    def test_texts_that_are_no_number_are_missing_numbers(self) -> None:
        assert np.isnan(as_numbers(np.array(["12", "twelve", None, [1]], object))).tolist() == [False, True, True, True]

    def test_moments_are_those_of_the_values(self) -> None:
        values = np.random.default_rng(1).normal(3.0, 2.0, size=200_000)  # more than one piece
        found = sketch_of(values).moments
        assert found.mean == pytest.approx(values.mean(), rel=1e-12)
        assert found.std == pytest.approx(values.std(), rel=1e-9)
        assert (found.low, found.high) == (values.min(), values.max())


class TestQuantiles:
    @pytest.mark.parametrize("shape", ["uniform", "lumps", "sorted"])
    def test_ranks_are_within_the_stated_error(self, shape: str) -> None:
        generator = np.random.default_rng(2)
        values = generator.random(300_000)
        values = np.round(values, 2) if shape == "lumps" else np.sort(values) if shape == "sorted" else values
        found = sketch_of(values).quantiles
        assert wrong_share(found, values) <= quantiles.rank_error(found, 1 - 0.01 / 51)
        assert quantiles.rank_error(found) < 0.01

    def test_few_values_are_kept_as_they_are(self) -> None:
        found = quantiles.insert(Quantiles(), np.arange(100.0))
        assert quantiles.rank_error(found) == 0.0
        assert quantiles.quantile(found, [0.005, 0.5, 1.0]).tolist() == [0.0, 49.0, 99.0]
        assert np.isnan(quantiles.quantile(Quantiles(), [0.5])).all()

    @settings(max_examples=25, deadline=None)
    @given(sizes=st.lists(st.integers(1, 6000), min_size=3, max_size=5), seed=st.integers(0, 2**32))
    def test_merging_is_commutative_and_associative_within_the_stated_error(self, sizes: list[int], seed: int) -> None:
        generator = np.random.default_rng(seed)
        parts = [generator.normal(place, 1.0, size) for place, size in enumerate(sizes)]
        sketches = [quantiles.insert(Quantiles(), np.sort(part)) for part in parts]
        values = np.concatenate(parts)
        one_by_one = list(itertools.accumulate(sketches, quantiles.merge))[-1]
        backwards = list(itertools.accumulate(sketches[::-1], lambda before, part: quantiles.merge(part, before)))[-1]
        for found in (one_by_one, backwards):
            assert found.seen == len(values)
            assert sum(len(level) << height for height, level in enumerate(found.levels)) == len(values)
            assert wrong_share(found, values) <= max(quantiles.rank_error(found, 1 - 1e-7), 1e-12)

    def test_the_stated_error_is_kept_in_nearly_all_draws(self) -> None:
        values = np.random.default_rng(3).permutation(40_000).astype(float)
        outside = 0
        for start in range(100):
            found = Quantiles(seed=start)
            for piece in np.split(values, 40):
                found = quantiles.insert(found, np.sort(piece))
            wrong = abs(float(quantiles.ranks(found, [12_345.0])[0]) - 12_346) / len(values)
            outside += wrong > quantiles.rank_error(found, 0.95)
        assert outside <= 12  # 5 are allowed on average, were the bound tight


class TestRowsThatStandForOthers:
    """Where a tenth of the requests is kept, each row counts for ten; what is known of them is known from those that were kept."""

    def test_counts_moments_and_frequent_values_are_those_of_the_rows_repeated(self) -> None:
        values = np.round(np.random.default_rng(8).normal(size=3000), 1)
        times = np.where(np.arange(3000) < 1000, 4.0, 1.0)
        found, repeated = update(empty(NUMBERS), NUMBERS, values, None, times), sketch_of(np.repeat(values, times.astype(int)))
        assert found.by_row.cells.tolist() == repeated.by_row.cells.tolist()
        assert (found.by_row.rows, found.by_row.outside) == (6000.0, repeated.by_row.outside)
        assert found.by_row.effective == pytest.approx(6000**2 / (1000 * 16 + 2000))
        assert found.by_request.rows == 3000
        assert found.moments.mean == pytest.approx(repeated.moments.mean)
        assert found.moments.std == pytest.approx(repeated.moments.std)
        assert abs(found.frequent.counts[0] - repeated.frequent.counts[0]) <= found.frequent.error + repeated.frequent.error

    def test_categories_likewise(self) -> None:
        found = update(empty(COLOURS), COLOURS, np.array(["red", "red", "pink"], object), None, np.array([2.5, 1.0, 2.5]))
        assert found.by_row.rows == 6.0
        assert dict(zip(found.frequent.keys, found.frequent.counts, strict=True)) == {"red": 3.5, "pink": 2.5}
        assert found.by_row.cells[-1] == 2.5

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 10**6), times=st.sampled_from([1.5, 2.0, 3.333, 10.0, 1000.0]), size=st.integers(1, 5000))
    def test_ranks_are_within_the_stated_error(self, seed: int, times: float, size: int) -> None:
        values = np.random.default_rng(seed).normal(size=size)
        found = quantiles.scaled(quantiles.insert(Quantiles(seed=seed), np.sort(values)), times)
        assert abs(found.seen - size * times) <= 1
        assert sum(len(level) << height for height, level in enumerate(found.levels)) == found.seen
        assert wrong_share(found, values, times) <= quantiles.rank_error(found, 1 - 1e-7)

    def test_the_sketch_is_no_larger_and_comes_back(self) -> None:
        values = np.random.default_rng(9).normal(size=50_000)
        found = update(empty(NUMBERS), NUMBERS, values, None, np.full(50_000, 7.5))
        assert len(found.to_bytes()) <= SIZE_LIMIT_BYTES
        assert from_bytes(found.to_bytes()).by_row.effective == pytest.approx(50_000)

    def test_a_tally_that_is_scaled_knows_no_more(self) -> None:
        tally = sketch_of(np.arange(100.0)).by_row
        assert tally.effective == 100
        assert tally.scaled(9.0).effective == pytest.approx(100)
        assert (tally.scaled(9.0) + tally).effective == pytest.approx(1000**2 / (100 * 81 + 100))


class TestDistinctAndFrequent:
    def test_few_different_values_are_counted(self) -> None:
        assert distinct.estimate(sketch_of(np.tile(np.arange(200.0), 50)).hashes) == 200

    def test_many_are_estimated_and_merging_is_exact(self) -> None:
        values = np.random.default_rng(4).random(100_000)
        whole = sketch_of(values).hashes
        halves = [sketch_of(part).hashes for part in np.split(values, 2)]
        assert (distinct.kept(*halves) == whole).all()
        assert (distinct.kept(*halves[::-1]) == whole).all()
        assert abs(distinct.estimate(whole) / 100_000 - 1) < 4 * distinct.STANDARD_ERROR

    @settings(max_examples=30, deadline=None)
    @given(values=st.lists(st.integers(0, 300), min_size=1, max_size=3000), cut=st.floats(0, 1))
    def test_counters_are_too_small_by_the_error_at_most(self, values: list[int], cut: float) -> None:
        middle = int(len(values) * cut)
        parts = [np.unique(np.array(part, float), return_counts=True) for part in (values[:middle], values[middle:])]
        first, second = (frequent.insert_numbers(Frequent(), *part) for part in parts)
        for found in (frequent.merge(first, second), frequent.merge(second, first)):
            counted = dict(zip(found.keys, found.counts, strict=True))
            assert found.error <= len(values) / (frequent.LIMIT + 1)
            for value in set(values):
                true = values.count(value)
                assert true - found.error <= counted.get(float(value), 0) <= true

    def test_a_value_that_sticks_out_is_found_among_many(self) -> None:
        values = np.random.default_rng(5).random(200_000)
        values[::10] = -999.0
        found = sketch_of(values).frequent
        assert found.keys[0] == -999.0
        assert found.counts[0] <= 20_000 <= found.counts[0] + found.error


class TestBytes:
    def flood(self) -> FeatureSketch:
        texts = np.array([f"\U0001f600{'ü' * 60}{number}\x00" for number in range(3000)], object)
        many = np.array([f"category {number:03d}" for number in range(256)], object)
        profile = profile_column("c", np.repeat(many, 3), input_name="c")
        return sketch_of(np.concatenate([texts, many]), profile)

    def test_a_sketch_comes_back_as_it_was(self) -> None:
        for found in (sketch_of(np.random.default_rng(6).normal(size=100_000)), self.flood(), empty(COLOURS)):
            again = from_bytes(found.to_bytes())
            assert again.to_bytes() == found.to_bytes()
            assert again.frequent == found.frequent
            assert again.moments == found.moments

    def test_a_sketch_is_never_larger_than_the_limit(self) -> None:
        values = np.random.default_rng(7).normal(size=500_000)
        wide = empty(NUMBERS)
        for piece in np.array_split(values, 97):
            wide = merge(wide, sketch_of(piece))
        for found in (wide, self.flood()):
            assert len(found.to_bytes()) <= SIZE_LIMIT_BYTES

    @settings(max_examples=60, deadline=None)
    @given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
    def test_other_bytes_are_refused(self, place: int, value: int, cut: int) -> None:
        data = bytearray(sketch_of(np.arange(50.0)).to_bytes())
        data[place % len(data)] ^= value or 1
        for bad in (bytes(data), bytes(data)[: cut % len(data)], b""):
            with pytest.raises(CorruptError):
                from_bytes(bad)

    def test_sketches_of_different_features_do_not_merge(self) -> None:
        with pytest.raises(ValueError, match="different features"):
            merge(empty(NUMBERS), empty(COLOURS))

    def test_a_feature_without_values_has_a_sketch(self) -> None:
        nothing = profile_column("x", np.full(5, np.nan), input_name="x", kind=FeatureKind.NUMBER)
        found = sketch_of(np.array([np.nan, 1.0]), nothing)
        assert (found.by_row.missing, found.by_row.cells.tolist()) == (1, [1.0])
