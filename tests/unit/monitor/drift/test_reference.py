"""Profiles of columns keep their law, whatever the values are."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.core.finding import Finding, FindingKind, Severity
from fairlead.core.profile import CATEGORY_LIMIT, FeatureKind, FeatureProfile
from fairlead.monitor.drift.movement import movement
from fairlead.monitor.drift.reference import is_free_text, kind_of, points_of, profile_column
from fairlead.monitor.sketch.update import empty, update
from fairlead.stores.document import dump, load

NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 7.0]), min_size=1, max_size=200)
TEXTS = st.lists(st.text(max_size=4) | st.none(), min_size=1, max_size=200)


def in_cells(feature: FeatureProfile) -> int:
    return sum(feature.counts) + feature.rest + feature.missing


@settings(max_examples=40, deadline=None)
@example(values=[0.0, 1.8961503816218355e154])
@example(values=[-1.7e308, 1.7e308, 1.7e308])
@given(values=NUMBERS)
def test_every_number_is_in_a_bin_or_missing_and_the_profile_fits_its_own_data(values: list[float]) -> None:
    column = np.array(values)
    feature = profile_column("x", column, input_name="x", kind=FeatureKind.NUMBER)
    assert in_cells(feature) == feature.count == len(values)
    assert len(feature.counts) == len(feature.edges) + 1
    assert list(feature.edges) == sorted(set(feature.edges))
    sketch = update(empty(feature), feature, column)
    assert sketch.by_row.cells.tolist() == list(feature.counts)
    assert sketch.by_row.fractions == 0
    assert load(dump(feature), FeatureProfile) == feature
    moved = movement(feature, sketch)
    assert math.isnan(moved.moved) or moved.moved == 0.0


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS)
def test_every_text_is_in_a_category_or_missing(texts: list[str | None]) -> None:
    column = np.array([*texts, None], object)[:-1]
    feature = profile_column("c", column, input_name="c")
    assert feature.kind is FeatureKind.CATEGORY
    assert in_cells(feature) == feature.count == len(texts)
    assert update(empty(feature), feature, column).by_row.cells[-1] == 0


def test_categories_beyond_the_limit_are_the_rest_and_new_ones_are_then_not_called_unseen() -> None:
    texts = np.array([f"c{number}" for number in range(CATEGORY_LIMIT + 44)], object)
    feature = profile_column("c", texts, input_name="c")
    assert (len(feature.categories), feature.rest, feature.distinct) == (CATEGORY_LIMIT, 44, CATEGORY_LIMIT + 44)
    cells = update(empty(feature), feature, np.array(["new"], object)).by_row.cells
    assert (cells[-2], cells[-1]) == (1.0, 0.0)


def test_kinds_follow_from_values() -> None:
    assert kind_of(np.array([True])) is FeatureKind.FLAG
    assert kind_of(np.array([0.0, 1.0, np.nan])) is FeatureKind.FLAG
    assert kind_of(np.array([0, 2])) is FeatureKind.NUMBER
    assert kind_of(np.array([np.nan])) is FeatureKind.NUMBER
    assert kind_of(np.array(["a"], object)) is FeatureKind.CATEGORY
    assert is_free_text(np.array([f"text {number}" for number in range(100)], object))
    assert not is_free_text(np.array(["a", "b"] * 50, object))


def test_points_stand_for_the_values_of_a_number() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    points, weights = points_of(profile_column("x", values, input_name="x"))
    assert abs(np.average(points, weights=weights) - values.mean()) < 0.05


def test_a_finding_comes_back_from_its_document_and_knows_what_it_is_about() -> None:
    finding = Finding(FindingKind.DRIFT, "tab", 3, "age", Severity.WARNING, 0.2, 500, 1.0, 2.0, "It moved.", interval=(0.1, 0.3))
    assert load(dump(finding), Finding) == finding
    assert finding.key == ("tab", 3, "drift", "age")
    assert finding.window == (1.0, 2.0)
    assert Severity.INFO.rank < Severity.WARNING.rank < Severity.CRITICAL.rank
