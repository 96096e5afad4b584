"""Compressed families: only where the promise says what may be lost, in an order that fits the promise, and ruled out only for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.artifact import ArtifactForm
from fairlead.core.facts import ModelFacts
from fairlead.core.pass_use import parse_passes
from fairlead.core.plan import Plan
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.optimize.catalog import PASSES, PassKind, complete_settings, traits_of
from fairlead.plan.families import _FAMILIES, Means, _Family
from fairlead.plan.stage import plan

ALL = frozenset(PASSES.names())
NETWORK = ModelFacts(347_146, 1_388_584, {"Conv": 2}, {"convolution": 1e6}, 1_388_584, 100_000, 50_000)
FOREST = ModelFacts(0, 2_000_000, {"TreeEnsembleClassifier": 1}, {"trees": 1e4}, 2_000_000, 100, 100, tree_count=200, node_count=9000)


def planned(*promise: str, means: Means | None = None, form: ArtifactForm = ArtifactForm.LAYER_GRAPH) -> Plan:
    return plan({"parameter_count": 347_146}, form, parse_requirements(promise), Target(), means or Means(ALL, model=NETWORK))


def lossy(found: Plan) -> list[str]:
    return [one.name for one in found.candidates if any(traits_of(use.name).kind is PassKind.LOSSY for use in one.uses)]


def test_nothing_is_compressed_unless_the_promise_says_what_may_be_lost() -> None:
    found = planned("p99_ms<=5", "size_mb<=1")
    assert lossy(found) == []
    assert ("compressed forms", "nothing in the promise says what may be lost; say it, for example accuracy_drop<=0.005") in found.refused


def test_nothing_is_compressed_without_means() -> None:
    found = plan({}, ArtifactForm.LAYER_GRAPH, parse_requirements(["accuracy_drop<=0.01"]), Target())
    assert lossy(found) == []
    assert found.refused == ()


def test_what_answers_as_the_original_stands_before_every_compressed_form() -> None:
    names = [one.name for one in planned("accuracy_drop<=0.01").candidates]
    assert names[0] == "as-converted"
    assert names.index("clean-graph") < names.index("store-fp16")


def test_the_gentlest_form_that_is_small_enough_comes_first() -> None:
    assert lossy(planned("size_mb<=0.8", "accuracy_drop<=0.01"))[0] == "store-fp16"
    assert lossy(planned("size_mb<=0.4", "accuracy_drop<=0.01"))[0] == "store-int8"
    trained = Means(ALL, model=NETWORK, has_training=True)
    assert lossy(planned("size_mb<=0.1", "accuracy_drop<=0.01", means=trained))[0] == "prune-structured-store-int8"


def test_a_form_whose_weights_alone_are_too_large_is_ruled_out_with_the_number() -> None:
    refused = dict(planned("size_mb<=0.4", "accuracy_drop<=0.01").refused)
    assert refused["store-fp16"] == "'size_mb<=0.4' is out of its reach: 0.5 of the weights are 0.694 MB"
    unknown = plan(
        {"parameter_count": 347_146}, ArtifactForm.LAYER_GRAPH, parse_requirements(["size_mb<=0.4", "f1>=0.01"]), Target(), Means(ALL)
    )
    assert "store-fp16" not in dict(unknown.refused)  # a file's count of parameters is no proof


def test_speed_brings_forward_what_computes_less() -> None:
    trained = Means(ALL, model=NETWORK, has_training=True, instruction_sets=("AVX2",))
    order = lossy(planned("p99_ms<=1", "accuracy_drop<=0.01", means=trained))
    assert order[:2] == ["factorize-dense", "prune-structured"]
    assert order.index("prune-structured") < order.index("store-fp16") < order.index("quantize-static-int8")
    quick = Means(ALL, model=NETWORK, instruction_sets=("AVX-512-VNNI",))
    assert lossy(planned("p99_ms<=1", "accuracy_drop<=0.01", means=quick))[0] == "quantize-dynamic-int8"
    without = lossy(planned("accuracy_drop<=0.01", means=quick))
    assert without[0] == "store-fp16"


def test_what_trains_waits_for_rows_to_train_on() -> None:
    refused = dict(planned("accuracy_drop<=0.01").refused)
    assert "--train" in refused["prune-structured"]
    rowless = dict(planned("decision_flips<=3", means=Means(ALL, has_rows=False, model=NETWORK)).refused)
    assert "--data" in rowless["quantize-static-int8"]


def test_trees_get_families_of_trees() -> None:
    means = Means(ALL, model=FOREST, has_training=True)
    for form in (ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ONNX_FILE, ArtifactForm.ESTIMATOR_FILE):
        assert set(lossy(planned("accuracy_drop<=0.01", means=means, form=form))) <= {
            *("share-thresholds", "shorten-ensemble", "prune-trees", "distill-trees", "distill-linear")
        }


def test_students_of_every_kind_are_planned_for_networks() -> None:
    found = lossy(planned("accuracy_drop<=0.01", means=Means(ALL, has_training=True, model=NETWORK)))
    assert {"distill-network", "distill-strided", "distill-trees", "distill-linear"} <= set(found)


@given(st.sets(st.sampled_from(sorted(ALL))), st.booleans(), st.booleans(), st.sampled_from([0.01, 0.3, 5.0]))
def test_only_passes_that_are_there_are_planned_and_every_family_is_kept_or_ruled_out(
    names: set[str], has_rows: bool, has_training: bool, size_mb: float
) -> None:
    means = Means(frozenset(names), has_rows, has_training, NETWORK)
    promise = parse_requirements([f"size_mb<={size_mb}", "decision_flips<=9"])
    found = plan({}, ArtifactForm.LAYER_GRAPH, promise, Target(), means)
    made = [one for one in found.candidates if one.passes and one.name != "clean-graph"]
    assert all(use.name in names for one in made for use in one.uses)
    assert all(one.reason for one in made)
    assert not {one.name for one in made} & {name for name, _ in found.refused}
    assert found == plan({}, ArtifactForm.LAYER_GRAPH, promise, Target(), means)


def test_what_the_model_keeps_as_it_is_presses_for_nothing() -> None:
    means = Means(ALL, model=NETWORK, instruction_sets=("AVX-512-VNNI",), kept=frozenset({"p99_ms"}))
    assert lossy(planned("p99_ms<=1", "accuracy_drop<=0.01", means=means))[0] == "store-fp16"


def test_the_kernel_for_trees_is_left_out_where_there_are_no_trees() -> None:
    for form in (ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ESTIMATOR_FILE):
        names = [one.name for one in plan({}, form, (), Target()).candidates]
        assert "trees" in names  # not known: its builder finds out
        assert "trees" in [one.name for one in planned(means=Means(ALL, model=FOREST), form=form).candidates]
        assert "trees" not in [one.name for one in planned(form=form).candidates]


def test_trees_lose_their_idle_splits_without_being_asked_what_they_may_lose() -> None:
    means = Means(ALL, model=FOREST)
    assert "merge-splits" in [one.name for one in planned(means=means, form=ArtifactForm.TREE_ENSEMBLE).candidates]
    assert "merge-splits" not in [one.name for one in planned().candidates]


@pytest.mark.parametrize("family", _FAMILIES, ids=lambda family: family.name)
def test_a_family_needs_what_its_passes_need_and_can_be_set_as_it_says(family: _Family) -> None:
    uses = parse_passes(family.passes)
    assert all(use.name in PASSES.names() and complete_settings(use) for use in uses if use.settings)
    assert family.needs_training == any(traits_of(use.name).needs_training for use in uses)
    assert family.needs_rows == any(traits_of(use.name).needs_rows for use in uses)
    assert all(use.name in ALL for use in uses)
