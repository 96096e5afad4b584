"""Arms of an experiment compared."""

import math

import pytest
from canaries import arm, times

from fairlead.core.evidence import ArmEvidence, ReleaseEvidence, StepEvidence
from fairlead.core.gate import RULES, ArmsComparison
from fairlead.register.gate.compare import compare
from fairlead.stores import document

ALL = [RULES[name] for name in ("error_rate", "p99_ms", "accuracy")]
THIRDS = {"A": 1 / 3, "B": 1 / 3, "C": 1 / 3}


def experiment(**arms: ArmEvidence) -> ReleaseEvidence:
    return ReleaseEvidence("x", (StepEvidence(0, arms),))


def three() -> ReleaseEvidence:
    """B is right more often, C fails and is slow."""
    return experiment(
        A=arm(10_000, bad=20, labelled=5000, right=4500, latency=times(9_980)),
        B=arm(10_000, bad=20, labelled=5000, right=4700, latency=times(9_980, seed=1)),
        C=arm(10_000, bad=200, labelled=5000, right=4500, latency=times(9_800, median_ms=6.0, seed=2)),
    )


def test_the_best_arm_is_the_one_that_beats_every_other():
    said = compare(three(), THIRDS, ALL, 0.01)
    assert said.best == {"error_rate": None, "p99_ms": None, "accuracy": "B"}
    proven = {(one.metric, one.better, one.worse) for one in said.contrasts if one.is_proven}
    assert proven == {
        ("error_rate", "A", "C"), ("error_rate", "B", "C"),
        ("p99_ms", "A", "C"), ("p99_ms", "B", "C"),
        ("accuracy", "B", "A"), ("accuracy", "B", "C"),
    }  # fmt: skip
    assert said.sentence == "At 0.99: error_rate: A beats C, B beats C; p99_ms: A beats C, B beats C; accuracy: B is best."


def test_every_estimate_lies_in_its_interval():
    for one in compare(three(), THIRDS, ALL, 0.01).estimates:
        assert one.value is None or one.low <= one.value <= one.high
    accuracy = next(one for one in compare(three(), THIRDS, ALL, 0.01).estimates if (one.arm, one.metric) == ("B", "accuracy"))
    assert (accuracy.value, accuracy.count) == (pytest.approx(0.94), 5000)


def test_names_do_not_matter():
    held = three().steps[0].arms
    renamed = experiment(A=held["C"], B=held["A"], C=held["B"])
    one, other = compare(three(), THIRDS, ALL, 0.01), compare(renamed, THIRDS, ALL, 0.01)
    assert other.best["accuracy"] == "C"
    turned = {"C": "A", "A": "B", "B": "C"}
    assert {(each.metric, turned[each.better], turned[each.worse], each.e_value) for each in one.contrasts} == {
        (each.metric, each.better, each.worse, each.e_value) for each in other.contrasts
    }


def test_without_requests_no_arm_is_better_and_every_value_is_possible():
    said = compare(ReleaseEvidence("x"), THIRDS, ALL, 0.01)
    assert set(said.best.values()) == {None}
    assert all(one.value is None and (one.low, one.high) in ((0.0, 1.0), (0.0, math.inf)) for one in said.estimates)
    assert all(one.e_value == 1.0 and one.needed is None for one in said.contrasts)


def test_unequal_shares_are_no_difference():
    said = compare(experiment(A=arm(90_000, bad=900), B=arm(10_000, bad=100)), {"A": 0.9, "B": 0.1}, ALL[:1], 0.05)
    assert said.best == {"error_rate": None}


def test_an_arm_without_share_and_metrics_of_pairs_are_no_error():
    said = compare(experiment(A=arm(100)), {"A": 1.0, "B": 0.0}, [RULES["error_rate"], RULES["disagreement"]], 0.05)
    assert {one.metric for one in said.estimates} == {"error_rate"}


def test_a_comparison_comes_back_from_its_document():
    said = compare(three(), THIRDS, ALL, 0.01)
    assert document.load(document.dump(said), ArmsComparison) == said
