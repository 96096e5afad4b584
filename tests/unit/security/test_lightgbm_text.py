"""LightGBM's text is taken apart without LightGBM: what it writes is read, and whatever it would not write is refused by name."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.tree_ensemble import Missing, Split, Transform
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.errors import InputError, SourceError, UnsupportedError
from fairlead.security.lightgbm_text import LightGbmText, parse_lightgbm
from fairlead.security.lightgbm_trees import ZERO, ensemble_of

TREE = """Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 2
split_gain=9 4 1
threshold=0.5 0 -1.5
decision_type=2 9 8
left_child=1 -1 -2
right_child=2 -3 -4
leaf_value=0.25 -0.5 1 2
leaf_weight=1 1 1 1
leaf_count=1 1 1 1
internal_value=0 0 0
internal_weight=1 1 1
internal_count=4 2 2
cat_boundaries=0 2
cat_threshold=5 1
is_linear=0
shrinkage=1


"""
STUMP = """Tree=1
num_leaves=1
num_cat=0
split_feature=
threshold=
decision_type=
left_child=
right_child=
leaf_value=0.125
shrinkage=1


"""
HEAD = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=binary sigmoid:2
feature_names=age city weight
feature_infos=[0:1] 0:2:32 [0:1]
"""
END = "end of trees\n\nfeature_importances:\nage=1\n\nparameters:\n[boosting: gbdt]\n\nend of parameters\n\npandas_categorical:null\n"


def text(tree: str = TREE, head: str = HEAD, end: str = END) -> str:
    return f"{head}tree_sizes={len(tree)} {len(STUMP)}\n\n{tree}{STUMP}{end}"


def parsed(source: str) -> LightGbmText:
    return parse_lightgbm(source.encode())


def refusal(source: str) -> str:
    with pytest.raises(SourceError) as caught:
        ensemble_of(parsed(source))
    return caught.value.message


def test_trees_names_and_the_objective_are_read_as_they_stand():
    model = parsed(text())
    ensemble = ensemble_of(model)
    assert model.feature_names == ("age", "city", "weight")
    assert (ensemble.transform, ensemble.scale) == (Transform.SIGMOID, 2.0)
    assert ensemble.tree_count == 2
    assert list(ensemble.splits[:3]) == [Split.LESS_OR_EQUAL, Split.CATEGORY, Split.LESS_OR_EQUAL]
    assert list(ensemble.missing[:3]) == [Missing.NEVER, Missing.NAN, Missing.NAN]
    assert list(ensemble.missing_left[:3]) == [True, False, False]
    assert list(ensemble.category_values) == [0, 2, 32]


def test_rows_take_the_way_that_the_text_says():
    rows = np.array([
        [0.5, 2, 0], [0.5, 32, 0], [0.5, 1, 0], [0.5, np.nan, 0], [0.5, -1, 0], [np.nan, 0, 0], [0.6, 0, -1.5], [0.6, 0, np.nan],
    ])  # fmt: skip
    assert list(sums_of(ensemble_of(parsed(text())), rows)[:, 0]) == [0.375, 0.375, 1.125, 1.125, 1.125, 0.375, -0.375, 2.125]


@pytest.mark.parametrize(("threshold", "expected"), [("0", [1, 1, 1, 1, 0]), ("-1.0000000180025095e-35", [1, 0, 0, 0, 0])])
def test_values_as_small_as_the_zero_threshold_count_as_zero(threshold: str, expected: list[int]):
    source = text(TREE.replace("threshold=0.5 0 -1.5", f"threshold={threshold} 0 -1.5").replace("0.25 -0.5 1 2", "1 0 1 0"))
    values = [np.nextafter(-ZERO, -1), -ZERO, 0.0, ZERO, np.nextafter(ZERO, 1)]
    rows = np.array([[value, 0, 9] for value in values])
    assert list(sums_of(ensemble_of(parsed(source)), rows)[:, 0] - 0.125) == expected


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("left_child=1 -1 -2", "left_child=1 -1 -99", "names a node that does not exist"),
        ("left_child=1 -1 -2", "left_child=1 -1 2147483647", "names a node that does not exist"),
        ("left_child=1 -1 -2", "left_child=0 -1 -2", "reached"),
        ("left_child=1 -1 -2", "left_child=1 -1 -2 -2", "has 4 numbers instead of 3"),
        ("right_child=2 -3 -4", "right_child=2 -1 -4", "reached"),
        ("split_feature=0 1 2", "split_feature=0 1 3", "feature that does not exist"),
        ("split_feature=0 1 2", "split_feature=0 1 -1", "feature that does not exist"),
        ("split_feature=0 1 2", "split_feature=0 1 2147483647", "feature that does not exist"),
        ("split_feature=0 1 2", "split_feature=0 1 99999999999999999999", "no number"),
        ("decision_type=2 9 8", "decision_type=2 9 14", "decision_type that is not known"),
        ("decision_type=2 9 8", "decision_type=2 9 24", "decision_type that is not known"),
        ("threshold=0.5 0 -1.5", "threshold=0.5 1 -1.5", "set of categories that does not exist"),
        ("threshold=0.5 0 -1.5", "threshold=nan 0 -1.5", "no number"),
        ("threshold=0.5 0 -1.5", "threshold=-inf-inf 0 -1.5", "no number"),
        ("leaf_value=0.25", "leaf_value=1e999", "not finite"),
        ("leaf_value=0.25", "leaf_value=inf", "no number"),
        ("cat_boundaries=0 2", "cat_boundaries=0 3", "do not fit its cat_threshold"),
        ("cat_boundaries=0 2", "cat_boundaries=2 0", "do not fit its cat_threshold"),
        ("cat_threshold=5 1", "cat_threshold=5 4294967296", "more than 32 bits"),
        ("num_cat=1", "num_cat=2147483647", "num_cat="),
        ("num_cat=1", "num_cat=99999999", "numbers instead of 100000000"),
        ("num_leaves=4", "num_leaves=99999999", "numbers instead of"),
        ("num_leaves=4", "num_leaves=0", "lacks its leaves"),
        ("num_leaves=4", "num_leaves=4\nnum_leaves=4", "twice"),
        ("num_leaves=4", "num_leafs=4", "unknown key"),
        ("is_linear=0\n", "evil=0\n", "unknown key"),
        ("left_child=1 -1 -2\n", "", "lacks its leaves or splits"),
    ],
)
def test_a_tree_that_lightgbm_would_read_out_of_bounds_is_refused_by_name(old: str, new: str, reason: str):
    assert old in TREE
    assert re.search(reason, refusal(text(TREE.replace(old, new, 1))))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("max_feature_idx=2", "max_feature_idx=1", "not one for each feature"),
        ("max_feature_idx=2", "max_feature_idx=999999999", "not one for each feature"),
        ("feature_names=age city weight", "feature_names=age age weight", "not one for each feature"),
        ("num_class=1", "num_class=1\nnum_class=1", "twice"),
        ("num_class=1", "evil=1", "unknown key"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=3", "do not fit 3 outputs"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "do not fit 0 outputs"),
        ("objective=binary sigmoid:2", "objective=binary sigmoid:nan", "objective has"),
        ("objective=binary sigmoid:2", "objective=multiclass num_class:3", "does not fit 1 outputs"),
    ],
)
def test_a_header_that_contradicts_the_trees_is_refused_by_name(old: str, new: str, reason: str):
    assert re.search(reason, refusal(text(head=HEAD.replace(old, new, 1))))


def test_sizes_by_which_lightgbm_would_jump_elsewhere_are_refused():
    assert "tree_sizes" in refusal(text().replace(f"tree_sizes={len(TREE)}", f"tree_sizes={len(TREE) + 1}"))


def test_a_threshold_may_be_infinite_and_parts_only_missing_values():
    source = text(TREE.replace("threshold=0.5 0 -1.5", "threshold=0.5 0 inf"))
    assert list(sums_of(ensemble_of(parsed(source)), np.array([[1, 0, 1e300], [1, 0, np.nan]]))[:, 0]) == [-0.375, 2.125]


def test_trees_out_of_order_are_refused():
    assert "not where it belongs" in refusal(text().replace("Tree=1\n", "Tree=2\n"))


@pytest.mark.parametrize("end", [END + "evil=1\n", END + END, END.replace("null", "{"), END.replace("null", '[["a", [1]]]')])
def test_what_follows_the_trees_has_to_be_what_lightgbm_writes(end: str):
    refusal(text(end=end))


def test_what_fairlead_cannot_represent_is_refused_by_its_name():
    linear = text(TREE.replace("is_linear=0", "is_linear=1"))
    for source, name in ((linear, "linear_tree"), (text(head=HEAD.replace("binary sigmoid:2", "evil")), "'evil'"),
                         (text(head=HEAD.replace("v4", "v2")), "'v2'")):  # fmt: skip
        with pytest.raises(UnsupportedError, match=name):
            ensemble_of(parsed(source))


def test_every_truncation_is_refused():
    whole = text()
    for length in range(0, whole.index("end of trees") + 12, 7):
        with pytest.raises(InputError):
            ensemble_of(parsed(whole[:length]))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_text_is_read_soundly_or_refused(data: st.DataObject):
    numbers = [match.span() for match in re.finditer(r"-?\d+(\.\d+)?", text())]
    start, stop = data.draw(st.sampled_from(numbers))
    value = data.draw(st.sampled_from(["-99", "2147483647", "-2147483648", "4294967296", "", "0", "1", "7", "1e400", "x"]))
    source = text()[:start] + value + text()[stop:]
    try:
        ensemble = ensemble_of(parsed(source))
    except InputError:
        return
    ensemble.check()
