"""XGBoost's JSON and UBJSON give one model, in every form since 1.0; what is damaged, or is made of no trees, is refused by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from xgboost_files import JSON, UBJ, document, encoded, forest, tree

from fairlead.errors import SourceError, UnsupportedError
from fairlead.security.xgboost_model import decode_xgboost, model_of, parse_xgboost
from fairlead.security.xgboost_trees import ensemble_of


def test_both_forms_give_the_same_model() -> None:
    one, other = parse_xgboost(JSON), parse_xgboost(UBJ)
    assert one.feature_names == other.feature_names == ("width", "größe", "kind")
    for name in ("version", "objective", "base_scores", "output_count", "feature_count", "rounds", "best_round", "feature_types"):
        assert getattr(one, name) == getattr(other, name), name
    assert len(one.trees) == len(other.trees) == 6
    for left, right in zip(one.trees, other.trees, strict=True):
        for name in ("left", "right", "features", "conditions", "default_left", "is_category"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert {node: chosen.tolist() for node, chosen in left.category_sets.items()} == {
            node: chosen.tolist() for node, chosen in right.category_sets.items()
        }


def test_white_space_around_json_does_not_matter() -> None:
    assert parse_xgboost(b" \n" + json.dumps(document(), indent=2).encode()).feature_count == 3


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("5E-1", 1, (0.5,)),
        ("[4.25E-1]", 1, (0.425,)),
        (0.25, 1, (0.25,)),
        ("[1E0,-2E0,3E0]", 3, (1.0, -2.0, 3.0)),
        ("0.5", 3, (0.5, 0.5, 0.5)),
    ],
)
def test_the_base_score_is_read_in_every_form(text: object, count: int, expected: tuple[float, ...]) -> None:
    model = document()
    model["learner"]["learner_model_param"].update(base_score=text, num_class=str(0 if count == 1 else count))
    assert model_of(model).base_scores == expected


@pytest.mark.parametrize("text", ["", "[]", "a", "nan", "[inf]", "1e39", "[1,2]", None, [0.5, 0.5]])
def test_a_base_score_that_is_none_is_refused(text: object) -> None:
    model = document()
    model["learner"]["learner_model_param"]["base_score"] = text
    with pytest.raises(SourceError, match="base score"):
        model_of(model)


def test_a_missing_base_score_is_refused_and_not_guessed() -> None:
    model = document()
    del model["learner"]["learner_model_param"]["base_score"]
    with pytest.raises(SourceError, match="base score"):
        model_of(model)


def test_files_of_releases_without_the_newer_arrays_are_read() -> None:
    model = document()
    del forest(model)["iteration_indptr"], forest(model)["cats"], model["learner"]["feature_names"], model["learner"]["feature_types"]
    del model["learner"]["attributes"], model["learner"]["learner_model_param"]["num_target"]
    for item in forest(model)["trees"]:
        del item["tree_param"]["size_leaf_vector"]
    found = model_of(model)
    assert (found.rounds, found.feature_names, found.best_round) == ((0, 1, 2, 3, 4, 5, 6), (), 0)
    for item in forest(model)["trees"]:  # before categories came
        for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes", "split_type"):
            del item[name]
    assert not any(item.is_category.any() or item.category_sets for item in model_of(model).trees)


def test_rounds_of_files_that_do_not_list_them_hold_a_tree_per_output_and_parallel_tree() -> None:
    model = document()
    del forest(model)["iteration_indptr"]
    forest(model)["gbtree_model_param"]["num_parallel_tree"] = "2"
    assert model_of(model).rounds == (0, 2, 4, 6)
    model["learner"]["learner_model_param"]["num_class"] = "3"
    assert model_of(model).rounds == (0, 6)


@pytest.mark.parametrize(("attribute", "expected"), [("3", 4), ("0", 1), ("", 0), ("-1", 0), ("many", 0), ("9" * 30, 0)])
def test_the_round_that_early_stopping_chose_is_found(attribute: str, expected: int) -> None:
    model = document()
    model["learner"]["attributes"]["best_iteration"] = attribute
    assert model_of(model).best_round == expected


def test_weights_of_dart_are_one_per_tree() -> None:
    model = document()
    inner = model["learner"]["gradient_booster"]
    model["learner"]["gradient_booster"] = {"name": "dart", "gbtree": inner, "weight_drop": [0.5] * 6}
    assert model_of(model).weights.tolist() == [0.5] * 6
    for weights in ([0.5] * 5, [0.5] * 5 + [float("nan")]):
        model["learner"]["gradient_booster"]["weight_drop"] = weights
        with pytest.raises(SourceError):
            model_of(model)


@pytest.mark.parametrize("name", ["", None, "x" * 5000])
def test_a_booster_that_is_not_known_is_refused_by_name(name: object) -> None:
    model = document()
    model["learner"]["gradient_booster"]["name"] = name
    with pytest.raises(UnsupportedError, match="booster") as caught:
        model_of(model)
    assert str(name)[:20] in caught.value.message
    assert len(caught.value.message) < 400


def test_vector_leaves_of_before_3_are_refused_by_name() -> None:
    model = document()
    tree(model)["tree_param"]["size_leaf_vector"] = "3"
    with pytest.raises(UnsupportedError, match=r"vector leaves of before 3\.0"):
        model_of(model)


Change = Callable[[dict[str, Any]], object]
DAMAGES: dict[str, tuple[Change, str]] = {
    "a child beyond the end": (lambda model: tree(model)["left_children"].__setitem__(0, 99), "child"),
    "a child below zero": (lambda model: tree(model)["right_children"].__setitem__(0, -2), "child"),
    "only one child": (lambda model: tree(model)["right_children"].__setitem__(0, -1), "child"),
    "a feature beyond the end": (lambda model: tree(model)["split_indices"].__setitem__(0, 3), "feature"),
    "a feature below zero": (lambda model: tree(model)["split_indices"].__setitem__(0, -1), "feature"),
    "a fraction as a child": (lambda model: tree(model)["left_children"].__setitem__(0, 1.5), "fractions"),
    "not a number as a child": (lambda model: tree(model)["left_children"].__setitem__(0, float("nan")), "fractions"),
    "an infinite child": (lambda model: tree(model)["left_children"].__setitem__(0, float("inf")), "no indices"),
    "a child of 400 digits": (lambda model: tree(model)["left_children"].__setitem__(0, 10**400), "too large"),
    "a condition of 400 digits": (lambda model: tree(model)["split_conditions"].__setitem__(0, 10**400), "too large"),
    "a text as a child": (lambda model: tree(model)["left_children"].__setitem__(0, "1"), "other than numbers"),
    "a list as a condition": (lambda model: tree(model)["split_conditions"].__setitem__(0, [1]), "other than numbers"),
    "an unknown kind of split": (lambda model: tree(model)["split_type"].__setitem__(0, 2), "kind of split"),
    "too few children": (lambda model: tree(model)["left_children"].pop(), "entries"),
    "too many conditions": (lambda model: tree(model)["split_conditions"].append(1.0), "entries"),
    "no conditions": (lambda model: tree(model).pop("split_conditions"), "entries"),
    "a category below zero": (lambda model: tree(model)["categories"].__setitem__(0, -1), "categories"),
    "a category of 2^24": (lambda model: tree(model)["categories"].__setitem__(0, 2**24), "categories"),
    "a segment beyond the end": (lambda model: tree(model)["categories_segments"].__setitem__(0, 99), "categories"),
    "a segment too long": (lambda model: tree(model)["categories_sizes"].__setitem__(0, 99), "categories"),
    "a node of categories beyond the end": (lambda model: tree(model)["categories_nodes"].__setitem__(0, 99), "categories"),
    "a node of categories twice": (lambda model: tree(model)["categories_nodes"].__setitem__(0, 6), "categories"),
    "sets without their places": (lambda model: tree(model).pop("categories_segments"), "entries"),
    "an output that does not exist": (lambda model: forest(model)["tree_info"].__setitem__(0, 1), "output"),
    "too few outputs": (lambda model: forest(model)["tree_info"].pop(), "entries"),
    "rounds beyond the end": (lambda model: forest(model)["iteration_indptr"].__setitem__(6, 7), "rounds"),
    "rounds that go back": (lambda model: forest(model)["iteration_indptr"].__setitem__(1, 5), "rounds"),
    "no rounds": (lambda model: forest(model).update(iteration_indptr=[]), "rounds"),
    "no nodes": (lambda model: tree(model)["tree_param"].update(num_nodes="0"), "no nodes"),
    "a number of nodes that is none": (lambda model: tree(model)["tree_param"].update(num_nodes="-13"), "num_nodes"),
    "as many nodes as fit in no memory": (lambda model: tree(model)["tree_param"].update(num_nodes="2147483647"), "entries"),
    "too many features": (lambda model: model["learner"]["learner_model_param"].update(num_feature="99999999"), "num_feature"),
    "a name too few": (lambda model: model["learner"]["feature_names"].pop(), "name every feature"),
    "a number as a name": (lambda model: model["learner"]["feature_names"].__setitem__(0, 1), "name every feature"),
    "one text as names": (lambda model: model["learner"].update(feature_names="abc"), "name every feature"),
    "a number as names": (lambda model: model["learner"].update(feature_names=3), "name every feature"),
    "an array as names": (lambda model: model["learner"].update(feature_names=np.arange(3)), "name every feature"),
    "a tree that is a list": (lambda model: forest(model)["trees"].__setitem__(0, []), "not an object"),
    "trees that are an object": (lambda model: forest(model).update(trees={}), "trees"),
    "a learner that is a text": (lambda model: model.update(learner="learner"), "learner"),
    "a version that is an object": (lambda model: model.update(version={}), "version"),
    "a version that is a number": (lambda model: model.update(version=3), "version"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_by_name(name: str) -> None:
    change, reason = DAMAGES[name]
    model = document()
    change(model)
    with pytest.raises(SourceError, match=reason) as caught:
        model_of(model)
    assert caught.value.hint


@pytest.mark.parametrize("place", range(0, len(JSON) - 1, 97))
def test_every_truncation_of_json_is_refused(place: int) -> None:
    with pytest.raises(SourceError):
        parse_xgboost(JSON[:place])


@pytest.mark.parametrize("place", range(0, len(UBJ), 97))
def test_every_truncation_of_ubjson_is_refused(place: int) -> None:
    with pytest.raises(SourceError):
        parse_xgboost(UBJ[:place])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JSON.replace(b'"version"', b'"learner"'), "twice"),
        (JSON.replace(b'"attributes":{}', b'"attributes":{"a":' + b"[" * 100 + b"]" * 100 + b"}"), "too deep"),
        (JSON.replace(b'"attributes":{}', b'"attributes":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"), "too deep"),
        (JSON.replace("größe".encode(), "größe".encode("latin-1")), "utf-8"),
        (JSON + b"{}", "Extra data"),
        (b"[1]", "byte"),
        (b"", "breaks off"),
        (b"binf", "unknown marker"),
        (UBJ + b"Z", "follow"),
    ],
)
def test_bytes_that_xgboost_does_not_write_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        decode_xgboost(data)


def test_names_with_escapes_are_the_same_in_json_of_other_writers() -> None:
    assert b"gr\\u00f6\\u00dfe" in json.dumps(document()).encode()
    assert parse_xgboost(json.dumps(document()).encode()).feature_names == parse_xgboost(encoded(document())).feature_names


MODEL = parse_xgboost(JSON)


def linear(weights: object) -> dict[str, Any]:
    model = document()
    model["learner"]["gradient_booster"] = {"name": "gblinear", "model": {"boosted_rounds": 3, "weights": weights}}
    return model


def test_a_linear_booster_has_weights_for_each_feature_and_a_bias() -> None:
    sizes = MODEL.feature_count + 1, MODEL.output_count
    weights = np.arange(np.prod(sizes), dtype=np.float32)
    found = model_of(linear(weights.tolist()))
    assert found.linear is not None
    assert np.array_equal(found.linear, weights.reshape(sizes))
    assert (found.trees, found.rounds, len(found.groups)) == ((), (0,), 0)
    with pytest.raises(UnsupportedError, match="not of trees"):
        ensemble_of(found)


@pytest.mark.parametrize("change", [lambda w: w[:-1], lambda w: [*w, 0.0], lambda w: [float("nan"), *w[1:]], lambda w: "w", lambda w: None])
def test_weights_of_another_number_or_that_are_none_are_refused(change: Any) -> None:
    whole = [0.5] * ((MODEL.feature_count + 1) * MODEL.output_count)
    with pytest.raises(SourceError):
        model_of(linear(change(whole)))
