"""Steps that fit become an ensemble in an order that can run; what does not fit is said by the step's name."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.ensemble import Member, Source, StepKind
from fairlead.core.ensemble_deciding import class_array, majority, votes
from fairlead.core.ensemble_wiring import Draft, wire
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.errors import SpecError

PETS = ("cat", "dog", "owl")


def spec(name, *shape, dtype=DType.FP32, columns=()):
    return TensorSpec(name, dtype, (None, *shape), columns)


def member(inputs, outputs, *, rule=None, labels=(), task=None, version="m:1"):
    return Member(version, "0" * 64, Interface(tuple(inputs), tuple(outputs), task, rule, labels), "onnxruntime", "f")


SCALER = member([spec("x", 4, columns=("a", "b", "c", "d"))], [spec("y", 4)], version="scaler:1")
NET = member(
    [spec("x", 4)],
    [spec("scores", 3)],
    rule=Decision(DecisionKind.ARGMAX, "scores", scores="scores"),
    labels=PETS,
    task=Task.CLASSIFICATION,
    version="net:2",
)
LABELLER = member(
    [spec("x", 4)],
    [TensorSpec("label", DType.BYTES, (None,)), spec("chances", 3)],
    rule=Decision(DecisionKind.LABEL, "label", scores="chances"),
    labels=PETS,
    version="labeller:1",
)
NUMBER = member([spec("x", None)], [spec("n", 1)], rule=Decision(DecisionKind.VALUE, "n"), task=Task.REGRESSION, version="number:1")
MEMBERS = (SCALER, NET, LABELLER, NUMBER)


def run(name, place, **wires):
    return Draft(name, StepKind.MODEL, wires, place)


def mix(name, kind, *wires, weights=()):
    return Draft(name, kind, {str(place): text for place, text in enumerate(wires)}, -1, weights)


SCALE, LEFT, RIGHT = run("scale", 0, x="input.x"), run("left", 1, x="scale.y"), run("right", 2, x="scale")
BLEND = mix("blend", StepKind.AVERAGE, "left.scores", "right.chances")


def test_a_chain_takes_what_the_first_takes_and_decides_as_the_last():
    ensemble, interface = wire([SCALE, LEFT], {"p": "left.scores"}, MEMBERS)
    assert interface.inputs == (spec("x", 4, columns=("a", "b", "c", "d")),)
    assert interface.outputs == (spec("p", 3),)
    assert (interface.task, interface.labels) == (Task.CLASSIFICATION, PETS)
    assert interface.decision == Decision(DecisionKind.ARGMAX, "p", scores="p")
    assert ensemble.outputs == {"p": Source("left", "scores")}


@pytest.mark.parametrize("order", list(permutations([SCALE, LEFT, RIGHT, mix("both", StepKind.CONCAT, "left", "right.chances")])))
def test_steps_come_after_those_that_they_take_from_however_they_were_written(order):
    ensemble, interface = wire(order, {"wide": "both"}, MEMBERS)
    seen = {"input"}
    for step in ensemble.steps:
        assert {source.step for source in step.inputs.values()} <= seen
        seen.add(step.name)
    assert interface.outputs == (spec("wide", 6),)
    assert interface.decision is None


def test_a_label_keeps_its_scores_where_both_are_given():
    _, interface = wire([run("net", 2, x="input.rows")], {"animal": "net.label", "p": "net.chances"}, MEMBERS)
    assert interface.decision == Decision(DecisionKind.LABEL, "animal", scores="p")
    _, interface = wire([run("net", 2, x="input.rows")], {"animal": "net.label"}, MEMBERS)
    assert interface.decision == Decision(DecisionKind.LABEL, "animal", scores="")


def test_an_average_of_models_that_decide_alike_decides_as_they_do():
    twice = [SCALE, LEFT, run("again", 1, x="scale.y"), mix("blend", StepKind.AVERAGE, "left", "again", weights=(1, 2))]
    _, interface = wire(twice, {"p": "blend"}, MEMBERS)
    assert interface.decision == Decision(DecisionKind.ARGMAX, "p", scores="p")
    assert interface.labels == PETS


def test_scores_that_stand_beside_a_label_are_averaged_to_a_decision_by_the_largest():
    _, interface = wire([SCALE, LEFT, RIGHT, BLEND], {"p": "blend"}, MEMBERS)
    assert interface.decision == Decision(DecisionKind.ARGMAX, "p", scores="p")
    assert interface.labels == PETS


def test_an_average_of_what_nobody_decides_by_decides_nothing():
    _, interface = wire([SCALE, run("again", 0, x="input.x"), mix("m", StepKind.AVERAGE, "scale", "again")], {"p": "m"}, MEMBERS)
    assert interface.decision is None


def test_a_vote_gives_a_label():
    _, interface = wire([SCALE, LEFT, RIGHT, mix("v", StepKind.VOTE, "left.scores", "right.label")], {"animal": "v"}, MEMBERS)
    assert interface.outputs == (TensorSpec("animal", DType.BYTES, (None,)),)
    assert interface.decision == Decision(DecisionKind.LABEL, "animal")
    assert interface.labels == PETS


def test_free_sizes_meet_fixed_ones():
    ensemble, interface = wire([run("n", 3, x="input.x"), run("net", 1, x="input.x")], {"a": "n.n", "b": "net"}, MEMBERS, decision="b")
    assert interface.inputs == (spec("x", 4),)
    assert len(ensemble.steps) == 2


def test_a_part_of_the_request_may_be_given_back():
    _, interface = wire([run("net", 1, x="input.x")], {"p": "net", "rows": "input.x"}, MEMBERS)
    assert [one.name for one in interface.outputs] == ["p", "rows"]


@pytest.mark.parametrize(
    ("drafts", "outputs", "said"),
    [
        ([], {"p": "a.b"}, "has no steps"),
        ([SCALE], {}, "gives nothing"),
        ([run("Scale", 0, x="input.x")], {"p": "Scale.y"}, "'Scale' cannot name a step"),
        ([run("input", 0, x="input.x")], {"p": "input.y"}, "'input' cannot name a step"),
        ([run("scale", 0, z="input.x")], {"p": "scale"}, "Step 'scale': scaler:1 has no input 'z'. Did you mean 'x'|There is: x"),
        ([run("scale", 0)], {"p": "scale"}, "Step 'scale': input 'x' of scaler:1 is not wired"),
        ([run("scale", 0, x="scael.y")], {"p": "scale"}, "there is no step 'scael'. Did you mean 'scale'"),
        ([SCALE, run("left", 1, x="scale.why")], {"p": "left"}, "step 'scale' gives no 'why'"),
        ([SCALE, run("r", 1, x="right.c"), RIGHT], {"p": "r"}, "step 'right' gives no 'c'"),
        ([SCALE, RIGHT], {"p": "right"}, "gives no ''"),
        ([run("a", 0, x="b"), run("b", 0, x="c"), run("c", 0, x="a")], {"p": "a"}, "wait for each other: a -> b -> c -> a"),
        ([run("a", 0, x="a")], {"p": "a"}, "wait for each other: a -> a"),
        ([SCALE, LEFT, RIGHT], {"p": "left"}, "Nothing uses what step 'right' gives"),
        (
            [SCALE, LEFT, run("b", 1, x="left.scores")],
            {"p": "b"},
            r"Step 'b': input 'x' of net:2 takes x FP32 \[batch, 4\], but left.scores",
        ),
        ([RIGHT, SCALE, run("b", 1, x="right.label")], {"p": "b"}, "but right.label is label BYTES"),
        ([SCALE, LEFT, run("n", 3, x="left"), mix("m", StepKind.AVERAGE, "left", "n")], {"p": "m"}, "Step 'm' cannot average n.n"),
        ([SCALE, RIGHT, mix("m", StepKind.AVERAGE, "right.label")], {"p": "m"}, "cannot average right.label"),
        ([SCALE, RIGHT, mix("m", StepKind.CONCAT, "right.label")], {"p": "m"}, "cannot put right.label"),
        ([SCALE, RIGHT, mix("m", StepKind.VOTE, "right.chances")], {"p": "m"}, "cannot count right.chances"),
        ([SCALE, run("n", 3, x="scale"), mix("m", StepKind.VOTE, "n.n")], {"p": "m"}, "cannot count n.n"),
        ([SCALE, LEFT, mix("m", StepKind.VOTE, "left", weights=(1, 2))], {"p": "m"}, "needs one weight above 0 for each of its 1"),
        ([SCALE, LEFT, mix("m", StepKind.VOTE, "left", weights=(0,))], {"p": "m"}, "needs one weight above 0"),
        ([mix("m", StepKind.VOTE)], {"p": "m"}, "combines nothing"),
        ([mix("m", StepKind.CONCAT, "input.x")], {"p": "m"}, "'input.x', which no model takes"),
        ([SCALE, SCALE], {"p": "scale"}, "Two steps have the same name"),
        ([SCALE, LEFT, RIGHT], {"p": "left", "q": "right.label"}, "Several outputs could decide: p, q"),
        ([run("l", 1, x="input.x"), run("t", 3, x="l"), run("u", 2, x="input.t")], {"p": "t"}, "Nothing uses what step 'u'"),
    ],
)
def test_what_does_not_fit_is_said_where_it_is(drafts, outputs, said):
    with pytest.raises(SpecError, match=said):
        wire(drafts, outputs, MEMBERS)


def test_two_steps_that_want_different_things_of_one_name_are_told_apart():
    other = member([spec("x", 5)], [spec("y", 5)], version="other:1")
    named = member([spec("x", 4, columns=("d", "c", "b", "a"))], [spec("y", 4)], version="named:1")
    for second, said in ((other, "another step takes x FP32"), (named, "names other columns")):
        with pytest.raises(SpecError, match=said):
            wire([SCALE, run("o", 4, x="input.x")], {"a": "scale", "b": "o"}, (*MEMBERS, second))


def test_the_output_that_decides_is_named_where_several_could():
    _, interface = wire([SCALE, LEFT, RIGHT], {"p": "left", "q": "right.label"}, MEMBERS, decision="q")
    assert interface.decision == Decision(DecisionKind.LABEL, "q")
    with pytest.raises(SpecError, match=r"'z' is no output that decides\. These could: p, q"):
        wire([SCALE, LEFT, RIGHT], {"p": "left", "q": "right.label"}, MEMBERS, decision="z")


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=5), st.booleans())
def test_the_majority_wins_and_the_first_label_breaks_ties(said, has_weights):
    weights = [number + 1.0 for number in range(len(said))] if has_weights else []
    chosen = majority([np.array(ballot) for ballot in said], weights, class_array(PETS))
    for row in range(3):
        counts = [
            sum(weight for ballot, weight in zip(said, weights or [1.0] * len(said), strict=True) if ballot[row] == place)
            for place in range(3)
        ]
        assert chosen[row] == PETS[counts.index(max(counts))]


def test_votes_are_read_by_each_rule():
    def read(kind, output, classes):
        return votes(Interface((), (), decision=Decision(kind, "s")), output, classes).tolist()

    assert read(DecisionKind.ARGMAX, np.float32([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), PETS) == [1, 0]
    assert read(DecisionKind.THRESHOLD, np.float32([[0.5], [0.6]]), (0, 1)) == [0, 1]
    assert read(DecisionKind.LABEL, np.array(["owl", "wolf"], object), PETS) == [2, -1]
