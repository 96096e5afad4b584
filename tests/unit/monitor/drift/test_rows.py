"""What is worked out of rows: features, outliers, all inputs together, seasons; and what a person is told of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.finding import AdviceKind, FindingKind, Severity
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.profile import FeatureKind, Profile
from fairlead.core.sketch import Tally
from fairlead.monitor.drift.alarm import Alarm, Aspect
from fairlead.monitor.drift.budget import WatchOptions
from fairlead.monitor.drift.features import answer_features, input_features, log_columns, observed_features
from fairlead.monitor.drift.findings import Scene, findings_of
from fairlead.monitor.drift.joint import JOINT, JointWatch, doubt, embed, fourier, joint_sketch, points
from fairlead.monitor.drift.movement import Movement, moved_share, movement
from fairlead.monitor.drift.outliers import find_outliers
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.drift.seasons import Season, SeasonalReference
from fairlead.monitor.sketch.update import empty, update

RNG = np.random.default_rng(0)
TABLE = Interface(
    (TensorSpec("x", DType.FP32, (None, 2), columns=("age", "size")), TensorSpec("colour", DType.BYTES, (None,))),
    (TensorSpec("p", DType.FP32, (None, 3)),),
    decision=Decision(DecisionKind.ARGMAX, "p"),
    labels=("a", "b", "c"),
)


def profile_of(interface: Interface, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> Profile:
    features = input_features(interface, inputs)
    answers = answer_features(interface, outputs)
    made = [
        tuple(profile_column(name, one.values, input_name=one.input, part=one.part, kind=one.kind) for name, one in columns.items())
        for columns in (features, answers)
    ]
    return Profile(made[0], made[1], len(next(iter(inputs.values()))), "rows")


class TestFeatures:
    def tensors(self, rows: int = 300) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        inputs = {"x": RNG.normal(size=(rows, 2)).astype("f4"), "colour": RNG.choice(np.array(["r", "g"], object), rows)}
        return inputs, {"p": RNG.dirichlet(np.ones(3), rows).astype("f4")}

    def test_a_table_has_a_feature_for_each_column_and_answers_have_two(self) -> None:
        found = profile_of(TABLE, *self.tensors())
        assert [(item.name, item.kind, item.part) for item in found.features] == [
            ("age", FeatureKind.NUMBER, "0"),
            ("size", FeatureKind.NUMBER, "1"),
            ("colour", FeatureKind.CATEGORY, ""),
        ]
        assert [item.name for item in found.predictions] == ["decision", "confidence"]
        assert set(found.predictions[0].categories) == {"a", "b", "c"}

    def test_rows_of_the_log_give_the_features_that_the_tensors_gave(self) -> None:
        inputs, outputs = self.tensors()
        known = profile_of(TABLE, inputs, outputs)
        piece = {"input:age": inputs["x"][:, 0], "input:size": inputs["x"][:, 1], "input:colour": inputs["colour"]}
        piece |= {f"output:p[{place}]": outputs["p"][:, place] for place in range(3)}
        assert set(log_columns(known, TABLE)) >= set(piece)
        found = observed_features(known, TABLE, piece)
        for feature in known.everything:
            sketch = update(empty(feature), feature, found[feature.name])
            assert sketch.by_row.cells.tolist() == feature.cells.tolist()

    def test_an_answer_is_never_taken_for_an_input_of_its_name(self) -> None:
        spec = TensorSpec("x", DType.FP64, (None, 2), columns=("value", "size"))
        rule = Decision(DecisionKind.VALUE, "y")
        interface = Interface((spec,), (TensorSpec("y", DType.FP64, (None, 1)),), decision=rule)
        inputs, outputs = {"x": RNG.normal(size=(300, 2))}, {"y": RNG.normal(50.0, 1.0, size=(300, 1))}
        known = profile_of(interface, inputs, outputs)
        assert [item.name for item in known.everything] == ["value", "size", "value (answer)"]
        piece = {"input:value": inputs["x"][:, 0], "input:size": inputs["x"][:, 1], "output:y": outputs["y"][:, 0]}
        found = observed_features(known, interface, piece)
        assert (found["value"].max() < 10, found["value (answer)"].min() > 40) == (True, True)

    def test_what_the_log_does_not_keep_is_left_out(self) -> None:
        known = profile_of(TABLE, *self.tensors())
        assert set(observed_features(known, TABLE, {"input:age": np.zeros(3)})) == {"age"}

    def test_images_are_watched_by_summaries_kept_or_worked_out(self) -> None:
        image = Interface((TensorSpec("image", DType.FP32, (None, 20, 20, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),))
        image = replace(image, decision=Decision(DecisionKind.VALUE, "y"))
        pictures = RNG.random((50, 20, 20, 1)).astype("f4")
        known = profile_of(image, {"image": pictures}, {"y": pictures.mean(axis=(1, 2))})
        assert {item.name for item in known.features} == {f"image.{part}" for part in ("mean", "std", "min", "max", "missing", "sharpness")}
        assert [item.name for item in known.predictions] == ["value"]
        whole = observed_features(known, image, {"input:image": pictures.reshape(50, 400)})
        kept = observed_features(known, image, {"input:image.sharpness": whole["image.sharpness"]})
        original = input_features(image, {"image": pictures})
        assert np.allclose(whole["image.sharpness"], original["image.sharpness"].values)
        assert np.allclose(kept["image.sharpness"], whole["image.sharpness"])

    def test_texts_that_hardly_repeat_are_watched_by_summaries(self) -> None:
        text = Interface((TensorSpec("review", DType.BYTES, (None,)),), ())
        reviews = np.array([f"review number {number}" for number in range(200)], object)
        assert "review.words" in input_features(text, {"review": reviews})
        assert set(input_features(text, {"review": reviews[np.arange(200) % 5]})) == {"review"}

    def test_one_probability_is_a_score_and_answers_without_a_rule_are_not_watched(self) -> None:
        binary = Interface((), (TensorSpec("p", DType.FP32, (None, 1)),), decision=Decision(DecisionKind.THRESHOLD, "p"))
        assert set(answer_features(binary, {"p": np.array([[0.2], [0.7]], "f4")})) == {"decision", "score"}
        assert answer_features(replace(binary, decision=None), {"p": np.zeros((2, 1))}) == {}
        assert answer_features(binary, {}) == {}


class TestOutliers:
    def test_rows_unlike_any_are_found_with_their_reasons(self) -> None:
        age = profile_column("age", np.arange(200.0), input_name="x")
        colour = profile_column("colour", np.array(["r", "g"] * 100, object), input_name="c")
        unused = replace(profile_column("noise", np.arange(200.0), input_name="x"), use=0.0)
        columns = {
            "age": np.array([5.0, 210.0, 300.0, np.nan]),
            "colour": np.array(["r", "g", "pink", None], object),
            "noise": np.full(4, 1e9),
        }
        found = find_outliers((age, colour, unused), columns)
        assert found.counts.tolist() == [0, 0, 2, 2]
        assert found.by_feature["colour"].tolist() == [False, False, True, True]

    def test_without_columns_there_are_none(self) -> None:
        assert find_outliers((), {}).counts.tolist() == []


def ids_of(columns: dict[str, np.ndarray]) -> list[str]:
    return [f"r{number}" for number in range(len(next(iter(columns.values()))))]


class TestJoint:
    FEATURES = tuple(profile_column(name, RNG.normal(size=20_000), input_name=name) for name in ("a", "b"))

    def draw(self, rows: int, correlation: float, seed: int) -> dict[str, np.ndarray]:
        both = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], rows)
        return {"a": both[:, 0], "b": both[:, 1]}

    def watch(self, threshold: float = 8.0) -> JointWatch:
        embedding = embed(self.FEATURES, self.draw(20_000, 0.0, 1), seed=3)
        return JointWatch(Profile(self.FEATURES, (), 20_000, "rows", embedding=embedding), 0.05, threshold)

    def test_the_distance_is_the_kernels_discrepancy(self) -> None:
        one, two = self.draw(600, 0.0, 4), self.draw(500, 0.9, 5)
        embedding = embed(self.FEATURES, one, seed=3)
        first, second = points(self.FEATURES, one), points(self.FEATURES, two)

        def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return np.exp(-((left[:, None] - right[None]) ** 2).sum(axis=2) / (2 * embedding.scale**2))

        within = [(kernel(part, part).sum() - len(part)) / (len(part) * (len(part) - 1)) for part in (first, second)]
        exact = math.sqrt(sum(within) - 2 * kernel(first, second).mean())
        watched = JointWatch(Profile(self.FEATURES, (), 600, "rows", embedding=embedding), 0.05, 8.0)
        sketches = [
            joint_sketch(watched.profile, half, ids_of(half))
            for half in ({name: values[part] for name, values in two.items()} for part in (slice(0, 200), slice(200, None)))
        ]
        watched.step(0.0, 1.0, sketches[0] + sketches[1])
        assert watched.distance == pytest.approx(exact, abs=0.05)
        assert exact > 0.15

    def test_rows_have_a_squared_length_of_two_at_most(self) -> None:
        watched = self.watch()
        waves = fourier(watched.profile.embedding, points(self.FEATURES, self.draw(500, 0.5, 6)))
        assert (waves**2).sum(axis=1).max() <= 2.0 + 1e-9

    def test_inputs_that_hang_together_otherwise_are_found_though_each_is_as_it_was(self) -> None:
        changed, same = self.watch(), self.watch()
        alarms = []
        for hour in range(20):
            drawn = self.draw(300, 0.95, 100 + hour), self.draw(300, 0.0, 200 + hour)
            moved, steady = (joint_sketch(changed.profile, rows, ids_of(rows)) for rows in drawn)
            assert same.step(hour * 3600.0, hour * 3600.0 + 3600, steady) is None
            alarms.append(changed.step(hour * 3600.0, hour * 3600.0 + 3600, moved))
        found = [alarm for alarm in alarms if alarm is not None]
        assert found
        assert found[0].feature == JOINT

    def test_a_window_without_rows_is_none(self) -> None:
        watched = self.watch()
        assert watched.step(0.0, 1.0, None) is None
        assert math.isnan(watched.distance)
        assert joint_sketch(watched.profile, {"a": np.zeros(3)}, "xyz") is None  # of "b" nothing was kept

    def test_a_large_request_is_one_witness_and_sampled_rows_count_for_what_they_stand_for(self) -> None:
        rows = self.draw(40, 0.0, 8)
        profile = self.watch().profile
        one = joint_sketch(profile, rows, ["same"] * 40, weights=np.full(40, 1 / 40), stands_for=np.full(40, 10.0))
        many = joint_sketch(profile, rows, ids_of(rows))
        assert one.requests[one.requests > 0].tolist() == [pytest.approx(1.0)]
        assert many.requests.sum() == 40
        assert (one.weight, one.squares) == (400.0, 4000.0)
        assert np.allclose(one.total, 10 * many.total)
        assert np.allclose(many.sums.sum(axis=0), many.total)

    def test_fewer_than_two_features_have_no_joint(self) -> None:
        assert embed(self.FEATURES[:1], self.draw(10, 0.0, 1), seed=0) is None
        unused = tuple(replace(feature, use=0.0) for feature in self.FEATURES)
        assert embed(unused, self.draw(10, 0.0, 1), seed=0) is None

    def test_categories_and_missing_values_have_places(self) -> None:
        colour = profile_column("c", np.array(["r", "g"] * 9, object), input_name="c")
        placed = points((colour, self.FEATURES[0]), {"c": np.array(["r", None, "new"], object), "a": np.array([np.nan, 0.0, 1e9])})
        assert placed[1, 0] == 0.0
        assert placed[0, 1] == 0.0
        assert placed[0, 0] != placed[2, 0]

    def test_more_rows_leave_less_doubt(self) -> None:
        assert doubt(100_000) < doubt(1000) / 9


class TestSeasons:
    def test_a_window_is_held_against_its_own_hour(self) -> None:
        seasons = SeasonalReference(Season.DAY, 3600.0)
        day, night = Tally(300, cells=np.array([300.0, 0.0])), Tally(300, cells=np.array([0.0, 300.0]))
        for number in range(2):
            seasons.learn(number * 86_400.0 + 12 * 3600, "x", day)
            seasons.learn(number * 86_400.0 + 2 * 3600, "x", night)
        assert seasons.reference(9 * 86_400.0 + 12 * 3600, "x").cells.tolist() == [600.0, 0.0]
        assert seasons.reference(9 * 86_400.0 + 3 * 3600, "x") is None

    def test_too_few_rows_are_no_reference(self) -> None:
        seasons = SeasonalReference(Season.WEEK, 3600.0)
        seasons.learn(0.0, "x", Tally(100, cells=np.array([100.0])))
        assert seasons.reference(7 * 86_400.0, "x") is None


class TestMovement:
    AGE = replace(profile_column("age", RNG.normal(size=10_000), input_name="x"), use=0.5)

    def moved(self, values: np.ndarray, **changes: float) -> Movement:
        return movement(self.AGE, update(empty(self.AGE), self.AGE, values), shuffled_change=0.4, **changes)

    def test_nothing_has_moved_where_nothing_changed(self) -> None:
        found = self.moved(np.random.default_rng(1).normal(size=2000))
        assert found.moved < 0.03
        assert found.interval[0] == 0.0
        assert found.wasserstein < 0.1

    def test_a_shift_is_measured_in_every_measure(self) -> None:
        found = self.moved(np.random.default_rng(1).normal(0.5, 1.0, size=5000))
        assert found.moved == pytest.approx(0.1974, abs=0.03)  # 2 Phi(0.25) - 1
        assert found.kolmogorov_smirnov == pytest.approx(0.1974, abs=0.03)
        assert found.wasserstein == pytest.approx(0.5, abs=0.05)
        assert found.interval[0] <= 0.1974 <= found.interval[1]
        assert found.chi_square_p < 1e-12
        assert found.cost == pytest.approx(found.moved * 0.5 * 0.4)
        assert found.gained.startswith("median")

    def test_nothing_can_be_said_of_missing_values_alone(self) -> None:
        found = self.moved(np.full(10, np.nan))
        assert math.isnan(found.moved)
        assert found.missing == 1.0
        assert found.cost is None

    def test_the_share_is_nan_where_one_side_is_empty(self) -> None:
        assert math.isnan(moved_share(np.zeros(3), np.ones(3))[0])


class TestFindings:
    SCENE = Scene("tab", 3, 0.0, 36_000.0)
    AGE = replace(profile_column("age", RNG.normal(size=5000), input_name="x"), use=0.8)
    DECISION = profile_column("decision", np.array(["a", "b"] * 500, object), input_name="p")
    KNOWN = Profile((AGE,), (DECISION,), 5000, "rows", shuffled_change=0.5)

    def found(self, *alarms: Alarm, scene: Scene = SCENE, shift: float = 2.0) -> tuple:
        age = update(empty(self.AGE), self.AGE, np.append(RNG.normal(shift, 1.0, 900), np.full(100, np.nan)))
        decision = update(empty(self.DECISION), self.DECISION, np.array(["a"] * 900 + ["b"] * 100, object))
        moved = {
            "age": movement(self.AGE, age, shuffled_change=0.5),
            "decision": movement(self.DECISION, decision),
        }
        return findings_of(alarms, moved, self.KNOWN, scene, WatchOptions(), joint_distance=0.2)

    def alarm(self, feature: str, aspect: Aspect, since: float = 3600.0) -> Alarm:
        return Alarm(feature, aspect, since, since + 3600, 12.0, 10.0)

    def test_a_shift_that_costs_much_is_critical_and_says_what_to_do(self) -> None:
        [finding] = self.found(self.alarm("age", Aspect.SHAPE), self.alarm("age", Aspect.SHAPE, 7200.0))
        assert (finding.kind, finding.severity, finding.subject) == (FindingKind.DRIFT, Severity.CRITICAL, "age")
        assert finding.since == 3600.0
        assert finding.advice[0].kind is AdviceKind.RETRAIN
        assert "1970-01-01 01:00 UTC" in finding.sentence
        assert finding.bound == 0.1

    def test_a_shift_that_costs_little_is_only_told(self) -> None:
        [finding] = self.found(self.alarm("age", Aspect.SHAPE), shift=0.02)
        assert finding.severity is Severity.INFO
        assert finding.advice == ()

    def test_missing_values_send_one_to_their_source(self) -> None:
        [finding] = self.found(self.alarm("age", Aspect.MISSING))
        assert (finding.kind, finding.subject) == (FindingKind.DATA_QUALITY, "age.missing")
        assert finding.value == pytest.approx(0.1)
        assert finding.advice[0].kind is AdviceKind.CHECK_SOURCE

    def test_what_never_looked_like_the_release_points_at_preparation(self) -> None:
        scene = replace(self.SCENE, first_at=600.0)
        [finding] = self.found(self.alarm("age", Aspect.SHAPE, 0.0), scene=scene)
        assert finding.advice[0].kind is AdviceKind.CHECK_SOURCE
        [finding] = self.found(self.alarm("decision", Aspect.SHAPE, 0.0), scene=scene)
        assert (finding.kind, finding.advice[0].kind) == (FindingKind.PREDICTION_DRIFT, AdviceKind.ROLL_BACK)
        both = self.found(self.alarm("decision", Aspect.SHAPE, 0.0), self.alarm("age", Aspect.SHAPE, 0.0), scene=scene)
        advice = {finding.subject: [one.kind for one in finding.advice] for finding in both}
        assert advice == {"age": [AdviceKind.CHECK_SOURCE, AdviceKind.RETRAIN], "decision": [AdviceKind.RETRAIN]}

    def test_answers_that_moved_alone_send_one_to_what_is_not_watched(self) -> None:
        [finding] = self.found(self.alarm("decision", Aspect.SHAPE))
        assert finding.advice[0].kind is AdviceKind.CHECK_SOURCE
        both = self.found(self.alarm("decision", Aspect.SHAPE), self.alarm("age", Aspect.SHAPE))
        assert {finding.advice[0].kind for finding in both} == {AdviceKind.RETRAIN}

    def test_all_inputs_together_are_told_where_no_single_one_explains_it(self) -> None:
        joint = self.alarm(JOINT, Aspect.JOINT)
        assert [finding.subject for finding in self.found(joint)] == [JOINT]
        assert [finding.subject for finding in self.found(joint, self.alarm("age", Aspect.SHAPE))] == ["age"]
