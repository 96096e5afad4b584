"""What a search keeps of its trials, and what it never opens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairlead.app.search_model import _run, _taken
from fairlead.app.search_options import SearchOptions
from fairlead.app.search_setup import NO_ONNX, _space
from fairlead.app.search_trials import Limits, Trials, texts
from fairlead.app.trial_process import TrialEnd
from fairlead.core.conversion import RuntimeForm
from fairlead.core.lineage import Step
from fairlead.core.pass_use import parse_passes
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.errors import UnsupportedError
from fairlead.optimize.search.front import Finding
from fairlead.optimize.search.space import Recipe, Space

RECIPE = parse_passes("prune_structured")
SHORT = Step("optimize", "prune_structured", "a", "b", notes=("the time limit shortened training from 24 epochs",))


class OneModel(Trials):
    """Each trial makes the same bytes."""

    def __init__(self, model: Path) -> None:
        setup: Any = SimpleNamespace(space=Space({}), objective=Objective.LATENCY, trial=SimpleNamespace())
        limits = Limits(float("inf"), float("inf"), 60.0, 1, 0, 0)
        super().__init__(setup, SimpleNamespace(), SimpleNamespace(), limits, model.parent, SimpleNamespace())  # type: ignore[arg-type]
        self.model = model

    def end(self, recipe: Recipe) -> TrialEnd:
        job: Any = SimpleNamespace(name=texts(recipe)[0], first=0)
        return TrialEnd(job, "", 1.0, 1)

    def _job(self, recipe: Recipe, *, is_free: bool = False) -> Any:
        return recipe

    def _alone(self, job: Any) -> TrialEnd:
        return self.end(job)

    def _keep(self, recipe: Recipe, end: TrialEnd) -> Any:
        self._cached_count[end.job.name] = 0
        self.made[texts(recipe)] = (self.model, (SHORT,))
        return self.made[texts(recipe)]

    def _measure(self, recipe: Recipe, path: Path, digest: str, end: TrialEnd) -> tuple[SearchPoint, Finding]:
        return SearchPoint(self.candidate(recipe), digest, PointStatus.KEPT), Finding(recipe, holds_floor=True)


def test_a_model_that_is_trained_to_its_end_and_stays_the_same_is_no_twin_of_itself(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"the same")
    trials = OneModel(tmp_path / "m.onnx")
    trials._conclude(RECIPE, trials.end(RECIPE))
    assert trials.remake(RECIPE) is not None
    assert [point.status for point in trials.points] == [PointStatus.KEPT]
    again = parse_passes("prune_structured(ratio=0.25)")
    trials._conclude(again, trials.end(again))
    assert trials.points[-1].status is PointStatus.DUPLICATE


def test_a_model_without_an_onnx_form_is_never_opened_by_a_trial() -> None:
    said: list[str] = []
    progress: Any = SimpleNamespace(step=said.append, done=said.append)
    trials: Any = SimpleNamespace(setup=SimpleNamespace(trial=without_onnx()), run=lambda *_: pytest.fail("a trial was started"))
    assert _run(trials, SearchOptions(), SimpleNamespace(), progress) == NO_ONNX  # type: ignore[arg-type]
    assert said == ["search", f"{NO_ONNX}: nothing can be tried"]


@pytest.mark.parametrize("is_exact", [True, False])
def test_passes_that_are_named_for_it_are_refused(is_exact: bool) -> None:
    options = SearchOptions(passes=parse_passes("store_fp16"), is_exact=is_exact)
    with pytest.raises(UnsupportedError, match=NO_ONNX) as caught:
        _space(without_onnx(), SimpleNamespace(), options)  # type: ignore[arg-type]
    assert "--apply" in caught.value.hint
    assert _space(without_onnx(), SimpleNamespace(), SearchOptions()).values == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "said"), [(PointStatus.UNDONE, "no faster one"), (PointStatus.REJECTED, "on those of the verdict it holds")]
)
def test_the_model_that_was_taken_is_kept_and_says_what_spoke_against_it(status: PointStatus, said: str) -> None:
    point = SearchPoint(SimpleNamespace(name="best"), "d", status, reason="1.1x slower")  # type: ignore[arg-type]
    taken = _taken(point)
    assert taken.status is PointStatus.KEPT
    assert "1.1x slower" in taken.reason
    assert said in taken.reason
    assert _taken(SearchPoint(point.candidate, "d", PointStatus.KEPT)).reason == ""


def without_onnx() -> Any:
    return SimpleNamespace(conversion=SimpleNamespace(form=RuntimeForm.PYTHON))
