"""The whole of verify: green where it should be, red with the number where not, and a verdict that survives being stored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import LINEAR, WEIGHTS, linear_model

from fairlead.core.answers import align
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Machine
from fairlead.core.verdict import Verdict
from fairlead.engines.memory_probe import MemoryReading
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.stopwatch import TimingLimits
from fairlead.errors import DataError, RequirementError
from fairlead.stores.document import dump, load
from fairlead.verify import stage
from fairlead.verify.quality import QualityJob, measure_quality, task_of, wanted_metrics
from fairlead.verify.stage import VerifyJob, verify

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(200, 4)).astype(np.float32)
RIGHT = np.argmax(ROWS @ WEIGHTS, axis=1)
QUICK = TimingLimits(call_count=30, time_s=0.2, warm_up_count=1)
MakeJob = Callable[..., VerifyJob]


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """Builds jobs on two real engines. Memory is measured for real only where it is asked for: it starts two processes."""

    def make(
        *requirements: str,
        weights: Array = WEIGHTS,
        target: Array | None = RIGHT,
        metrics: dict[str, Callable[[Array, Array], float]] | None = None,
        has_real_memory: bool = False,
        **changes: object,
    ) -> VerifyJob:
        if not has_real_memory:
            monkeypatch.setattr(stage, "measure_memory", lambda *_, **__: MemoryReading(peak_bytes=20, bare_bytes=10))
        path = linear_model(tmp_path / "candidate.onnx", weights)
        job = VerifyJob(
            reference=OnnxRuntimeEngine(linear_model(tmp_path / "original.onnx"), LINEAR, optimization="none"),
            candidate=OnnxRuntimeEngine(path, LINEAR),
            candidate_name="as-converted",
            model_path=path,
            model_digest="0" * 64,
            original_size_bytes=10**6,
            dataset=Dataset({"x": ROWS}, target, "1" * 64, "rows.npz"),
            machine=Machine("Linux", "cpu", 1, 1),
            requirements=parse_requirements(requirements),
            metrics=metrics or {},
            limits=QUICK,
        )
        return dataclasses.replace(job, **changes)

    return make


def test_a_faithful_candidate_is_green_and_every_requirement_has_its_number(make_job: MakeJob) -> None:
    verdict = verify(
        make_job(
            "accuracy>=0.99",
            "accuracy_drop<=0",
            "p99_ms<=1000",
            "p50_ms@32<=1000",
            "size_mb<=1",
            "memory_mb<=500",
            "cores<=1",
            has_real_memory=True,
        )
    )
    assert verdict.is_green
    assert [check.name for check in verdict.checks if check.requirement] == [
        "accuracy", "accuracy_drop", "p99_ms", "p50_ms@32", "size_mb", "memory_mb", "cores",
    ]  # fmt: skip
    assert [speed.batch for speed in verdict.speed] == [1, 32]
    assert verdict.quality[0].candidate == 1.0
    assert verdict.size_bytes < 1000
    assert 10**6 < verdict.memory_peak_bytes < 500 * 10**6


def test_a_verdict_comes_back_from_storage_as_it_was(make_job: MakeJob) -> None:
    verdict = verify(make_job("accuracy>=0.5", "f1>=0.5", "auc>=0.5"))
    assert load(dump(verdict), Verdict) == verdict


def test_a_verdict_from_before_flips_were_shown_is_still_read(make_job: MakeJob) -> None:
    verdict = verify(make_job())
    written = json.loads(dump(verdict))
    del written["calibration"]
    for name in ("probe_flip_count", "jump_count", "flips"):
        del written["parity"][name]
    assert load(json.dumps(written).encode(), Verdict) == verdict


def test_a_candidate_that_computes_otherwise_is_red_and_says_by_how_much(make_job: MakeJob) -> None:
    verdict = verify(make_job(weights=-WEIGHTS))
    failed = {check.name: check.measured for check in verdict.failures}
    assert set(failed) == {"parity", "decisions"}
    assert failed["parity"] > 1
    assert failed["decisions"] == verdict.parity.decision_flip_count > 0


def test_a_requirement_on_differences_replaces_the_built_in_check(make_job: MakeJob) -> None:
    verdict = verify(make_job("max_abs_diff<=100", "decision_flips<=200", weights=-WEIGHTS))
    assert verdict.is_green
    assert "parity" not in {check.name for check in verdict.checks}


def test_a_small_change_within_the_tolerance_is_green_and_beyond_it_red(make_job: MakeJob) -> None:
    nearly = WEIGHTS + np.float32(1e-6)
    assert verify(make_job(weights=nearly, tolerance=1e-4)).is_green
    assert not verify(make_job(weights=nearly, tolerance=1e-9)).is_green


def test_what_cannot_be_kept_is_red(make_job: MakeJob) -> None:
    verdict = verify(make_job("p99_ms<=0.0000001", "throughput>=1e12", "accuracy>=1"))
    assert {check.name for check in verdict.failures} == {"p99_ms", "throughput_rps"}


def test_a_candidate_of_several_files_has_the_size_of_all_of_them(make_job: MakeJob) -> None:
    alone, together = verify(make_job()), verify(make_job("size_mb<=1", size_bytes=2 * 10**6))
    assert alone.size_bytes < 1000
    assert together.size_bytes == 2 * 10**6
    assert {check.name for check in together.failures} == {"size_mb"}


def test_quality_without_right_answers_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(RequirementError, match="no right answers"):
        verify(make_job("accuracy>=0.9", target=None))


def test_without_right_answers_nothing_is_said_about_quality(make_job: MakeJob) -> None:
    drawn = Dataset({"x": ROWS}, description="drawn", is_synthetic=True)
    verdict = verify(make_job(dataset=drawn))
    assert verdict.quality == ()
    assert any("say nothing about quality" in note for note in verdict.notes)


def test_a_metric_of_another_task_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(RequirementError, match="no meaning for classification"):
        verify(make_job("rmse<=1"))


def test_the_users_own_metric_is_asked_and_bounded_against_the_original(make_job: MakeJob) -> None:
    def cost(right: Array, said: Array) -> float:
        return float((right != said).sum())

    verdict = verify(make_job("shop:cost<=0", "shop:cost_rise<=0", metrics={"shop:cost": cost}))
    assert verdict.is_green
    worse = verify(make_job("shop:cost_rise<=0", "decision_flips<=200", "max_abs_diff<=99", weights=-WEIGHTS, metrics={"shop:cost": cost}))
    assert worse.failures[0].measured > 0


@pytest.mark.parametrize("bad", [lambda right, said: 1 / 0, lambda right, said: "high", lambda right, said: float("nan")])
def test_a_metric_of_the_user_that_fails_is_named(make_job: MakeJob, bad: Callable[[Array, Array], float]) -> None:
    with pytest.raises(RequirementError, match="'shop:broken'"):
        verify(make_job("shop:broken>=0", metrics={"shop:broken": bad}))


def softmax(weights: Array, power: float = 1.0) -> Callable[[Array], Array]:
    def answer(rows: Array) -> Array:
        odds = np.exp((rows @ weights).astype(np.float64))
        return np.asarray((odds / odds.sum(axis=1, keepdims=True)) ** power, dtype=np.float32)

    return answer


@dataclasses.dataclass
class FakeEngine:
    """Answers with a function of the rows."""

    function: Callable[[Array], Array]
    interface: Interface = LINEAR
    description: str = "fake"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        return {"y": self.function(inputs["x"])}

    def close(self) -> None:
        return


def test_calibration_is_measured_before_and_after_and_can_be_required(make_job: MakeJob) -> None:
    sharp = make_job("ece<=0.99", "ece_rise<=0.001", reference=FakeEngine(softmax(WEIGHTS)), candidate=FakeEngine(softmax(3 * WEIGHTS)))
    verdict = verify(dataclasses.replace(sharp, tolerance=10.0))
    assert verdict.calibration is not None
    assert verdict.calibration.row_count == 200
    # The right answers are the largest scores: the surer model is the better calibrated one, and the original the worse.
    assert verdict.calibration.candidate_ece < verdict.calibration.original_ece
    assert verdict.is_green
    blunt = verify(dataclasses.replace(sharp, reference=sharp.candidate, candidate=sharp.reference, tolerance=10.0))
    assert [check.name for check in blunt.failures] == ["ece_rise"]
    assert blunt.parity.decision_flip_count == 0
    assert load(dump(blunt), Verdict) == blunt


def test_probabilities_that_are_none_any_more_are_red(make_job: MakeJob) -> None:
    job = make_job("max_abs_diff<=1", reference=FakeEngine(softmax(WEIGHTS)), candidate=FakeEngine(softmax(WEIGHTS, power=2)))
    verdict = verify(job)
    assert [check.name for check in verdict.failures] == ["probabilities"]
    assert verdict.parity.decision_flip_count == 0


def test_a_model_without_probabilities_has_no_calibration(make_job: MakeJob) -> None:
    assert verify(make_job()).calibration is None
    with pytest.raises(RequirementError, match="'ece' cannot be measured: the model gives no probabilities"):
        verify(make_job("ece<=0.1"))


def test_a_candidate_that_takes_missing_values_otherwise_is_red_and_its_verdict_comes_back(make_job: MakeJob) -> None:
    rows = ROWS.copy()
    rows[3, 1] = rows[7] = np.nan
    filled = softmax(WEIGHTS)

    def original(given: Array) -> Array:
        return filled(np.nan_to_num(given))

    def skips(given: Array) -> Array:
        return filled(np.where(np.isnan(given), np.float32(9.0), given))

    job = make_job(reference=FakeEngine(original), dataset=Dataset({"x": rows}, RIGHT))
    assert verify(dataclasses.replace(job, candidate=FakeEngine(original))).is_green
    otherwise = verify(dataclasses.replace(job, candidate=FakeEngine(skips)))
    assert "parity" in {check.name for check in otherwise.failures}
    required = parse_requirements(["ece<=0.99"])
    passes_on = verify(dataclasses.replace(job, candidate=FakeEngine(filled), requirements=required))
    failed = {check.name: check.measured for check in passes_on.failures}
    assert failed["parity"] == failed["probabilities"] == np.inf
    assert np.isnan(failed["ece"])
    assert dump(load(dump(passes_on), Verdict)) == dump(passes_on)


def noisy(given: Array) -> Array:
    return softmax(WEIGHTS + np.float32(0.2) * np.sign(WEIGHTS))(given)


def test_what_a_compressed_model_may_lose_is_said_by_a_requirement(make_job: MakeJob) -> None:
    """Told and no gate: flips and differences. Without such a requirement nothing may be lost."""
    job = make_job(candidate=FakeEngine(noisy))
    gates = {check.name for check in verify(job).failures}
    assert {"parity", "decisions"} <= gates
    assert {check.name for check in verify(dataclasses.replace(job, is_lossy=True)).failures} == gates
    held = verify(dataclasses.replace(job, is_lossy=True, requirements=parse_requirements(["accuracy_drop<=0.99", "p99_ms<=1e4"])))
    told = {check.name: check for check in held.checks if not check.is_gate}
    assert held.is_green
    assert set(told) == {"parity", "decisions"}
    assert told["decisions"].measured == held.parity.decision_flip_count != 0
    exact = verify(dataclasses.replace(job, requirements=parse_requirements(["accuracy_drop<=0.99"])))
    assert {check.name for check in exact.failures} == gates
    bounded = verify(dataclasses.replace(job, is_lossy=True, requirements=parse_requirements(["accuracy_drop<=0.99", "decision_flips<=0"])))
    assert [check.name for check in bounded.failures] == ["decision_flips"]


def test_a_compressed_model_that_answers_nan_is_red_whatever_it_may_lose(make_job: MakeJob) -> None:
    def broken(given: Array) -> Array:
        scores = softmax(WEIGHTS)(given).copy()
        scores[given[:, 0] == ROWS[2, 0]] = np.nan
        return scores

    job = make_job("accuracy_drop<=0.99", candidate=FakeEngine(broken))
    verdict = verify(dataclasses.replace(job, is_lossy=True))
    assert "parity" in {check.name for check in verdict.failures}


def test_joining_requests_is_judged_by_what_the_original_allows_not_by_what_a_pass_does(make_job: MakeJob) -> None:
    def of_the_whole_batch(given: Array) -> Array:
        return softmax(WEIGHTS)(given) + np.float32(1e-3) * np.float32(len(given) % 2)

    job = make_job("accuracy_drop<=0.99", candidate=FakeEngine(of_the_whole_batch))
    job = dataclasses.replace(job, is_lossy=True, tolerance=0.1, exact_tolerance=1e-5)
    verdict = verify(job)
    assert all(check.is_met for check in verdict.checks if check.name == "batch invariance")
    assert not verdict.is_batch_invariant
    assert verify(dataclasses.replace(job, candidate=FakeEngine(softmax(WEIGHTS)))).is_batch_invariant


def test_reasons_can_be_required_and_are_measured_of_what_was_compressed(make_job: MakeJob) -> None:
    job = make_job("explanation_agreement>=0.99")
    verdict = verify(job)
    assert verdict.is_green
    assert verdict.explanation is not None
    check = next(check for check in verdict.checks if check.name == "explanation_agreement")
    assert check.measured == verdict.explanation.mean
    assert verify(make_job()).explanation is None
    assert verify(dataclasses.replace(make_job(), is_lossy=True)).explanation is not None
    assert not parse_requirements(["explanation_agreement>=0.9"])[0].is_loss_bound
    assert all(item.is_loss_bound for item in parse_requirements(["accuracy_drop<=0.1", "decision_flips<=3", "max_abs_diff<=1"]))


def test_probes_count_as_rows(make_job: MakeJob) -> None:
    verdict = verify(make_job(probes={"x": ROWS[:5]}))
    assert (verdict.parity.probe_count, verdict.parity.row_count, verdict.row_count) == (5, 205, 200)


def labelled(kind: DecisionKind, width: int, labels: tuple[str, ...] = ()) -> Interface:
    outputs = (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("p", DType.FP32, (None, width)))
    decides = "label" if kind is DecisionKind.LABEL else "p"
    return Interface((TensorSpec("x", DType.FP32, (None, 1)),), outputs, None, Decision(kind, decides, scores="p"), labels)


def test_labels_and_their_scores_are_measured_alike() -> None:
    interface = labelled(DecisionKind.LABEL, 2, ("no", "yes"))
    outputs = {"label": np.array(["no", "yes", "yes"], dtype=object), "p": np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])}
    target = np.array(["no", "yes", "no"], dtype=object)
    job = QualityJob(interface, target, outputs, outputs, ("accuracy", "f1", "auc"), {}, seed=0)
    accuracy, f1, auc = measure_quality(job)
    assert accuracy.candidate == pytest.approx(2 / 3)
    assert f1.candidate == pytest.approx(2 / 3)
    assert auc.candidate == 1.0


def test_a_single_score_is_a_binary_one() -> None:
    outputs = {"p": np.array([[0.2], [0.7]])}
    answers = align(labelled(DecisionKind.THRESHOLD, 1), np.array([0, 1]), outputs)
    assert answers.is_binary
    assert answers.said.tolist() == [0, 1]


def test_a_decision_for_every_position_counts_each() -> None:
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 2)),),
        (TensorSpec("p", DType.FP32, (None, 2, 3)),),
        None,
        Decision(DecisionKind.ARGMAX, "p", "p"),
    )
    outputs = {"p": np.eye(3)[np.array([[0, 1], [2, 2]])]}
    (quality,) = measure_quality(QualityJob(interface, np.array([[0, 1], [2, 0]]), outputs, outputs, ("accuracy",), {}, seed=0))
    assert quality.candidate == 0.75
    assert quality.row_count == 4


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        align(labelled(DecisionKind.ARGMAX, 3), np.zeros((2, 2)), {"p": np.zeros((2, 3))})


def test_auc_of_labels_without_scores_is_refused() -> None:
    interface = dataclasses.replace(labelled(DecisionKind.LABEL, 2), decision=Decision(DecisionKind.LABEL, "label"))
    outputs = {"label": np.array(["a", "b"], dtype=object), "p": np.zeros((2, 2))}
    job = QualityJob(interface, np.array(["a", "b"], dtype=object), outputs, outputs, ("auc",), {}, seed=0)
    with pytest.raises(RequirementError, match="no scores"):
        measure_quality(job)


def test_auc_of_one_class_is_refused() -> None:
    outputs = {"p": np.array([[0.2], [0.7]])}
    job = QualityJob(labelled(DecisionKind.THRESHOLD, 1), np.array([1, 1]), outputs, outputs, ("auc",), {}, seed=0)
    with pytest.raises(RequirementError, match="two classes"):
        measure_quality(job)


def test_the_task_is_what_the_decision_implies_unless_it_was_given() -> None:
    interface = labelled(DecisionKind.ARGMAX, 3)
    assert task_of(interface) is Task.CLASSIFICATION
    assert wanted_metrics(interface, (), has_target=True) == ("accuracy",)
    assert wanted_metrics(dataclasses.replace(interface, decision=None), (), has_target=True) == ()
    assert task_of(dataclasses.replace(interface, task=Task.REGRESSION)) is Task.REGRESSION
