"""What can be tried on a model, and in which order."""

from __future__ import annotations

import pytest

from fairlead.core.pass_use import PassUse, parse_passes
from fairlead.optimize.catalog import PASSES, traits_of
from fairlead.optimize.search.space import Family, Room, Space, Supply, family_of, in_order, make_space, place_of

EVERYTHING = Supply(has_rows=True, has_training=True, is_lossy_allowed=True)


def test_the_structure_comes_before_weights_numbers_and_storage() -> None:
    uses = parse_passes("optimize_graph,store_int8,train_int8,prune_magnitude,prune_structured,clean_graph")

    rooms = [place_of(use.name).room for use in in_order(uses)]

    assert rooms == [Room.GRAPH, Room.STRUCTURE, Room.WEIGHTS, Room.NUMBERS, Room.STORAGE, Room.LAST]


@pytest.mark.parametrize("name", PASSES.variants)
def test_every_pass_has_its_place(name: str) -> None:
    place = place_of(name)

    assert isinstance(place.room, Room)
    if name not in ("clean_graph", "slim_graph", "optimize_graph"):
        assert place.family is not Family.ANY or place.makes is not None, "say whether it is for networks or for trees"


@pytest.mark.parametrize(
    ("operators", "family"),
    [
        (["Conv", "Relu"], Family.NETWORK),
        (["Gemm"], Family.NETWORK),
        (["TreeEnsembleClassifier", "MatMul"], Family.TREES),
        (["Identity"], Family.ANY),
    ],
)
def test_the_operators_say_what_kind_of_model_it_is(operators: list[str], family: Family) -> None:
    assert family_of(operators) is family


def test_a_network_is_not_offered_passes_for_trees() -> None:
    space = make_space(["Conv", "Gemm"], EVERYTHING)

    assert not [name for name in space.values if place_of(name).family is Family.TREES]
    assert "quantize_static_int8" in space.values


def test_nothing_lossy_is_tried_where_no_requirement_says_what_may_be_lost() -> None:
    space = make_space(["Conv"], Supply(has_rows=True, has_training=True))

    assert all(traits_of(name).kind.value != "lossy" for name in space.values)
    assert ("quantize_static_int8", "no requirement says what may be lost") in space.left_out


def test_what_lacks_rows_or_training_rows_or_an_extra_is_left_out_and_said() -> None:
    bare = make_space(["Conv"], Supply(is_lossy_allowed=True))
    without = make_space(["Conv"], Supply(True, True, True, frozenset({"torch"})))

    assert dict(bare.left_out)["quantize_static_int8"] == "it measures ranges on rows, and there are none"
    assert dict(bare.left_out)["prune_structured"] == "it trains, and there are no rows to train on"
    assert ("prune_structured", "torch") in without.missing
    assert "prune_structured" not in without.values


def test_a_pass_that_only_shrinks_archives_is_tried_where_it_is_named() -> None:
    assert "prune_magnitude" not in make_space(["Conv"], EVERYTHING).values
    assert "prune_magnitude" in make_space(["Conv"], EVERYTHING, only=parse_passes("prune_magnitude")).values


def test_a_setting_that_the_user_gives_is_fixed() -> None:
    space = make_space(["Conv"], EVERYTHING, only=parse_passes("quantize_static_int8(per_channel=false),store_fp16"))

    assert list(space.values) == ["quantize_static_int8", "store_fp16"]
    assert all(use.settings["per_channel"] is False for use in space.grid("quantize_static_int8"))
    assert all(use.settings["per_channel"] is False for use in space.singles("quantize_static_int8"))


def test_two_ways_to_quantize_do_not_stand_together() -> None:
    space = make_space(["Conv"], EVERYTHING, only=parse_passes("quantize_static_int8,store_fp16,clean_graph"))

    assert space.joined((PassUse("quantize_static_int8"),), PassUse("store_fp16")) is None
    assert space.joined((PassUse("store_fp16"),), PassUse("clean_graph")) == (PassUse("clean_graph"), PassUse("store_fp16"))
    assert not [recipe for recipe in space.recipes() if {"quantize_static_int8", "store_fp16"} <= {use.name for use in recipe}]


def test_the_grid_has_every_recipe_once() -> None:
    space = Space({"clean_graph": {}, "store_int4": {"block": (32, 16)}})

    recipes = [tuple(map(str, recipe)) for recipe in space.recipes()]

    assert sorted(recipes) == sorted(
        [
            (),
            ("clean_graph",),
            ("store_int4",),
            ("store_int4(block=16)",),
            ("clean_graph", "store_int4"),
            ("clean_graph", "store_int4(block=16)"),
        ]
    )
    assert space.count(100) == 6
    assert space.count(3) == 3


@pytest.mark.parametrize("operators", [["Conv", "Gemm"], ["TreeEnsembleClassifier"]])
def test_students_of_every_kind_are_offered_whatever_the_teacher(operators: list[str]) -> None:
    space = make_space(operators, EVERYTHING)
    assert {"distill_trees", "distill_linear"} <= set(space.values)


def test_a_student_stands_with_passes_for_what_it_is_and_not_for_what_its_teacher_was() -> None:
    network, trees = make_space(["Conv"], EVERYTHING), make_space(["TreeEnsembleClassifier"], EVERYTHING)
    grown, linear = (PassUse("distill_trees"),), (PassUse("distill_linear"),)
    assert network.joined(grown, PassUse("store_int8")) is None
    assert network.joined((PassUse("prune_structured"),), PassUse("distill_trees")) is None
    assert network.joined(linear, PassUse("store_int8")) == (*linear, PassUse("store_int8"))
    assert network.joined(grown, PassUse("optimize_graph")) == (*grown, PassUse("optimize_graph"))
    assert trees.joined(grown, PassUse("round_leaves")) == (*grown, PassUse("round_leaves"))
    assert trees.joined(linear, PassUse("round_leaves")) is None
    assert trees.joined((PassUse("shorten_ensemble"),), PassUse("distill_linear")) is None


def test_no_recipe_of_the_grid_has_a_pass_behind_a_student_that_it_is_not_for() -> None:
    space = make_space(["Conv"], EVERYTHING, only=parse_passes("distill_trees,store_int8,clean_graph"))
    found = {tuple(use.name for use in recipe) for recipe in space.recipes()}
    assert ("clean_graph", "distill_trees") in found
    assert ("clean_graph", "store_int8") in found
    assert not [names for names in found if {"distill_trees", "store_int8"} <= set(names)]
