from dataclasses import replace

import numpy as np
import pytest
from observed import add_proven, answer, write_labels, wrong
from registered import classifier

from fairlead.app.costs import read_costs
from fairlead.app.feedback import feed
from fairlead.app.quality_report import QualityRequest, quality
from fairlead.app.quiet import Quiet
from fairlead.app.reliability import can_be_learned, reliability_from
from fairlead.cli.quality_text import quality_text
from fairlead.core.dataset import Dataset
from fairlead.core.finding import FindingKind
from fairlead.core.outcome import Keeping, LossBasis
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import DataError, RequirementError, SpecError


def draw(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    return classifier(tmp_path / "pets.onnx")


def learned(model, count: int = 3000):
    """How far the confidences of `model` can be believed if they are true: labels are drawn from its own probabilities."""
    path, interface = model
    rows = draw(count, 1)
    scores = OnnxRuntimeEngine(path, interface).run({"x": rows})
    random = np.random.default_rng(2)
    right = np.asarray([random.choice(3, p=row / row.sum()) for row in scores["scores"].astype(float)])
    return reliability_from(interface, Dataset({"x": rows}, right), scores)


def test_a_version_that_is_worse_than_at_release_is_found_with_its_promise(house, model, tmp_path) -> None:
    version = add_proven(house, "pets", model, "accuracy>=0.9", "p99_ms<=10", "memory_mb<=50", accuracy=0.95)
    region = np.asarray(["north", "south"] * 300, dtype=object)
    ids, said = answer(house, version, model, draw(600), **{"input:region": region})
    feed("pets", write_labels(tmp_path / "l.csv", ids, wrong(said, 4)), house, Quiet())
    view = quality(QualityRequest("pets", 3600.0, by="region"), house)
    assert view.overall.measured["accuracy"].value == 0.75
    assert view.against[0].is_worse
    keeping = {one.requirement: one.keeping for one in view.promises}
    assert keeping == {"accuracy>=0.9": Keeping.BROKEN, "p99_ms<=10": Keeping.KEPT, "memory_mb<=50": Keeping.UNMEASURED}
    subjects = {(one.kind, one.subject) for one in view.findings}
    assert (FindingKind.QUALITY, "accuracy") in subjects
    assert (FindingKind.QUALITY, "region=north") in subjects, "each fourth label is wrong, and all of these are in the north"
    assert (FindingKind.PROMISE, "accuracy>=0.9") in subjects
    text = quality_text(view, by="region")
    assert "does not keep 'accuracy>=0.9'" in text
    assert "75.0 % (71.4 to 78.3)" in text
    assert "METRIC" in text


def test_a_version_that_is_as_good_raises_nothing(house, model, tmp_path) -> None:
    version = add_proven(house, "pets", model, "accuracy>=0.9", accuracy=0.95)
    ids, said = answer(house, version, model, draw(600))
    feed("pets", write_labels(tmp_path / "l.csv", ids, wrong(said, 20)), house, Quiet())
    view = quality(QualityRequest("pets", 3600.0), house)
    assert not view.findings
    assert view.promises[0].keeping is Keeping.KEPT


def test_latency_above_its_bound_burns_the_budget_at_once(house, model) -> None:
    version = add_proven(house, "pets", model, "p99_ms<=10")
    answer(house, version, model, draw(400), latency_ms=12.0)
    view = quality(QualityRequest("pets", 7200.0), house)
    assert {one.subject for one in view.findings} == {"p99_ms<=10", "burn p99_ms<=10"}
    assert all(one.advice[0].kind.value == "scale" for one in view.findings)


def test_without_labels_accuracy_is_estimated_and_holds(house, model, tmp_path) -> None:
    version = add_proven(house, "pets", model, reliability=learned(model), accuracy=0.7)
    rows = draw(1500, 5) * 0.7  # less sure than at release
    answer(house, version, model, rows)
    view = quality(QualityRequest("pets", 3600.0), house)
    assert view.estimated is not None
    assert view.estimated.is_sound
    scores = OnnxRuntimeEngine(*model).run({"x": rows})["scores"].astype(float)
    assert abs(view.estimated.accuracy.value - scores.max(axis=1).mean()) < 0.03
    assert "No labels yet" in view.notes[0]
    assert "METRIC" not in quality_text(view), "a table of what is not known"


def test_rows_that_the_release_never_saw_make_the_estimate_unbelievable(house, model) -> None:
    version = add_proven(house, "pets", model, reliability=learned(model))
    answer(house, version, model, draw(500, 5) + 7.0)
    view = quality(QualityRequest("pets", 3600.0), house)
    assert view.estimated is not None
    assert "unlike those of the release" in " ".join(view.estimated.doubts)
    assert "not to be believed" in quality_text(view)


def test_the_uncompressed_original_is_asked_what_it_would_have_said(house, model, tmp_path) -> None:
    twin, _ = classifier(tmp_path / "twin.onnx", seed=1)
    version = add_proven(house, "pets", model, twin=twin)
    rows = draw(400)
    ids, said = answer(house, version, model, rows)
    feed("pets", write_labels(tmp_path / "l.csv", ids, said), house, Quiet())
    view = quality(QualityRequest("pets", 3600.0), house)
    assert view.loss is not None
    assert view.loss.basis is LossBasis.LABELS
    others = OnnxRuntimeEngine(twin, model[1]).run({"x": rows})["scores"].argmax(axis=1)
    share = float(np.mean([model[1].labels[place] == label for place, label in zip(others, said, strict=True)]))
    assert view.loss.loss.value == pytest.approx(share - 1.0), "all labels are what the compressed model said: it gains"


def test_business_value_counts_what_each_mistake_costs(house, model, tmp_path) -> None:
    version = add_proven(house, "pets", model)
    ids, said = answer(house, version, model, draw(100))
    feed("pets", write_labels(tmp_path / "l.csv", ids, wrong(said, 4)), house, Quiet())
    (tmp_path / "values.yaml").write_text("unit: EUR\nright: 2\nwrong: -10\n")
    view = quality(QualityRequest("pets", 3600.0, costs=read_costs(tmp_path / "values.yaml")), house)
    assert view.overall.value is not None
    assert view.overall.value.value == pytest.approx(0.75 * 2 - 0.25 * 10)
    assert "value in EUR" in quality_text(view, unit="EUR")


@pytest.mark.parametrize("text", ["", "right: many", "values: [1]", "profit: 3", "right: .nan", "values:\n  a: {b: x}", "unit: EUR"])
def test_values_that_mean_nothing_are_refused(tmp_path, text: str) -> None:
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(SpecError):
        read_costs(tmp_path / "values.yaml")


def test_a_column_that_is_not_recorded_and_a_metric_without_meaning_are_named(house, model) -> None:
    version = add_proven(house, "pets", model)
    answer(house, version, model, draw(10))
    with pytest.raises(DataError, match="segment") as caught:
        quality(QualityRequest("pets", by="segment"), house)
    assert "c0" in caught.value.hint
    with pytest.raises(RequirementError, match="rmse"):
        quality(QualityRequest("pets", metrics=("rmse",)), house)


def test_two_versions_are_told_apart_over_time(house, model, tmp_path) -> None:
    first = add_proven(house, "pets", model)
    ids, said = answer(house, first, model, draw(60))
    second = add_proven(house, "pets", classifier(tmp_path / "other.onnx", seed=3))
    answer(house, second, model, draw(40), first=100)
    feed("pets", write_labels(tmp_path / "l.csv", ids, said), house, Quiet())
    view = quality(QualityRequest("pets", 3600.0), house)
    labelled = {number: sum(one.labelled for one in view.windows if one.version == number) for number in (1, 2)}
    assert labelled == {1: 60, 2: 0}


def test_nothing_recorded_is_said_and_no_error(house, model) -> None:
    add_proven(house, "pets", model, "accuracy>=0.9")
    view = quality(QualityRequest("pets"), house)
    assert view.overall.answered == 0
    assert "Nothing was recorded" in view.notes[0]
    assert view.promises[0].keeping is Keeping.UNMEASURED


def test_confidences_are_learned_from_labelled_rows_of_a_decision_only(model) -> None:
    _, interface = model
    rows = Dataset({"x": draw(200)}, np.zeros(200, int))
    assert can_be_learned(interface, rows)
    assert not can_be_learned(interface, replace(rows, target=None))
    assert not can_be_learned(interface, replace(rows, is_synthetic=True))
    assert not can_be_learned(interface, rows.take(0, 50))
