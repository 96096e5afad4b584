import math

import numpy as np
import pytest
from live import labelled

from fairlead.core.outcome import CostMatrix
from fairlead.core.verdict import Quality
from fairlead.errors import RequirementError
from fairlead.monitor.quality.measure import check_metric, measure, worth
from fairlead.monitor.quality.report import OTHERS, ReportJob, against, bucketed, report, whole, width_for


def classes(count: int = 600, share: float = 0.8, seed: int = 0):
    random = np.random.default_rng(seed)
    right = random.integers(0, 3, count)
    said = np.where(random.random(count) < share, right, random.integers(0, 3, count))
    scores = random.dirichlet((1, 1, 1), count)
    return labelled(right, said, scores=scores), right, said, scores


def everything(rows) -> np.ndarray:
    return np.ones(rows.count, bool)


def test_metrics_are_those_of_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference")
    rows, right, said, scores = classes()
    assert measure("accuracy", rows, everything(rows)).value == pytest.approx(reference.accuracy_score(right, said))
    assert measure("f1", rows, everything(rows)).value == pytest.approx(reference.f1_score(right, said, average="macro"))
    auc = reference.roc_auc_score(right, scores, multi_class="ovr", average="macro")
    assert measure("auc", rows, everything(rows)).value == pytest.approx(auc)


def test_errors_of_numbers_have_intervals_around_them() -> None:
    random = np.random.default_rng(2)
    right = random.normal(size=500)
    rows = labelled(right, right + random.normal(size=500), is_number=True)
    mae, rmse = (measure(name, rows, everything(rows)) for name in ("mae", "rmse"))
    assert mae.low < math.sqrt(2 / math.pi) < mae.high
    assert rmse.low < 1.0 < rmse.high


@pytest.mark.parametrize("name", ["accuracy", "f1"])
def test_an_interval_holds_the_true_value_in_nearly_all_draws(name: str) -> None:
    rows, *_ = classes(60_000)
    truth = measure(name, rows, everything(rows)).value
    held = 0
    for seed in range(60):
        part, *_ = classes(300, seed=seed + 1)
        found = measure(name, part, everything(part), seed=seed)
        held += found.low <= truth <= found.high
    assert held >= 52  # 57 are expected


def test_an_interval_that_may_be_looked_at_again_and_again_is_wider() -> None:
    rows, *_ = classes()
    once, always = measure("accuracy", rows, everything(rows)), measure("accuracy", rows, everything(rows), alpha=0.05)
    assert always.low < once.low < once.high < always.high


def test_what_has_no_label_has_no_metric() -> None:
    rows, *_ = classes(50)
    assert not measure("accuracy", rows, np.zeros(50, bool)).is_known


@pytest.mark.parametrize(
    ("name", "is_number", "said"), [("mae", False, "no meaning"), ("auc", True, "no meaning"), ("speed", False, "no measure")]
)
def test_a_metric_without_meaning_is_refused(name: str, is_number: bool, said: str) -> None:
    rows = labelled(np.zeros(3), np.zeros(3), is_number=is_number)
    with pytest.raises(RequirementError, match=said):
        check_metric(name, rows)


def test_business_value_is_the_mean_over_decisions() -> None:
    rows = labelled(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1]))
    costs = CostMatrix({"fraud": {"ok": -100.0}, "ok": {"fraud": -2.0}}, right_value=1.0)
    found = worth(rows, everything(rows), costs, lambda number: ("ok", "fraud")[int(number)])
    assert found.value == pytest.approx((1 - 100 + 1 - 2) / 4)
    assert found.low < found.value < found.high


def test_quality_is_told_for_each_piece_of_time_version_and_slice() -> None:
    right = np.zeros(200)
    said = np.r_[np.zeros(150), np.ones(50)]
    region = np.asarray(["north"] * 120 + ["south"] * 80, dtype=object)
    rows = labelled(right, said, at=np.arange(200.0), version=np.r_[np.ones(100, int), np.full(100, 2)], slices={"input:region": region})
    job = ReportJob(("accuracy",), width_s=60.0, by="input:region")
    found = report(rows, 0.0, 200.0, job)
    assert sum(one.answered for one in found) == 200
    south = [one for one in found if one.slice == "south"]
    assert {one.version for one in south} == {2}
    assert all(one.until - one.since <= 60.0 for one in found)
    assert whole(rows, 0.0, 200.0, job).measured["accuracy"].value == 0.75


def test_many_numbers_are_read_in_quarters_and_many_words_as_the_rest() -> None:
    numbers = np.asarray([str(number) for number in range(100)], dtype=object)
    assert len(set(bucketed(numbers).tolist())) == 4
    words = np.asarray([f"word {number}" for number in range(100)], dtype=object)
    assert bucketed(words).tolist() == words.tolist()
    rows = labelled(np.zeros(100), np.zeros(100), slices={"w": words})
    assert OTHERS in {one.slice for one in report(rows, 0.0, 100.0, ReportJob(("accuracy",), by="w"))}


def test_production_is_held_against_the_release_with_both_uncertainties() -> None:
    rows, *_ = classes(2000, share=0.7)
    found = measure("accuracy", rows, everything(rows))
    evidence = Quality("accuracy", 0.95, 0.95, (0.93, 0.97), (0.93, 0.97), 500)
    assert against("accuracy", found, evidence).is_worse
    few, *_ = classes(12, share=0.9)
    assert not against("accuracy", measure("accuracy", few, everything(few)), evidence).is_worse
    error = Quality("mae", 1.0, 1.0, (0.9, 1.1), (0.9, 1.1), 500)
    numbers = labelled(np.zeros(100), np.full(100, 0.2), is_number=True)
    assert against("mae", measure("mae", numbers, everything(numbers)), error).is_better


def test_pieces_of_time_are_round_and_few() -> None:
    assert width_for(3600.0) == 300.0
    assert width_for(7 * 86_400.0) == 86_400.0
