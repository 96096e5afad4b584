"""A registered version explained: in this process and for a server, against rows that lie with it, with its trees where it is trees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app.background import BACKGROUND_FILE, Background, draw_background, read_background, write_background
from fairlead.app.explain_aids import Aids
from fairlead.app.explain_model import Explainer, Wish, open_explainer
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.explanation import Method
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.errors import CorruptError, DeadlineError, SpecError, UnsupportedError
from fairlead.stores.golden_rows import write_golden

ROW = {"x": np.array([[1.0, -2.0, 0.5, 3.0]], np.float32)}


def test_a_version_is_explained_by_its_label(stocked) -> None:
    with open_explainer("pets", stocked) as explainer:
        (found,) = explainer.explain(ROW, Wish())
    assert found.decision in ("cat", "dog", "owl")
    assert found.subject.says == f"the score of class '{found.decision}'"
    assert found.features == ("c0", "c1", "c2", "c3")
    assert found.method is Method.ENUMERATED
    assert abs(found.gap) < 1e-6
    assert found.background_count == 3
    assert any("golden requests" in note for note in found.notes)


def test_rows_can_be_given_to_explain_against(stocked, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((6, 4), np.float32))
    with open_explainer("pets:1", stocked, tmp_path / "rows.npy") as explainer:
        (found,) = explainer.explain(ROW, Wish())
    assert found.background_count == 6
    assert found.notes == ()


def test_what_would_change_and_when_it_holds(stocked, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    with open_explainer("pets", stocked, tmp_path / "rows.npy") as explainer:
        (change,) = explainer.counterfactuals(ROW, Wish(keep=("c0",)))
        (rule,) = explainer.rules(ROW, Wish())
        overview = explainer.overview(tmp_path / "rows.npy", None, Wish(), lambda _: None)
    assert change is not None
    assert "c0" not in {one.feature for one in change.changes}
    assert change.seconds > 0
    assert rule.decision == change.decision
    assert overview.rows == 40
    assert len(overview.importances) == 4


class Praise:
    """An engine that finds a review good if it says fine."""

    description = "a function"
    interface = Interface(
        (TensorSpec("t", DType.BYTES, (None, 1), ("review",)),),
        (TensorSpec("p", DType.FP64, (None, 2)),),
        Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "p", "p"),
        ("bad", "good"),
    )

    def run(self, inputs, outputs=()):
        good = np.array([0.9 if "fine" in text else 0.1 for text in inputs["t"][:, 0]])
        return {"p": np.stack([1 - good, good], axis=1)}

    def close(self) -> None:
        """Nothing is open."""


def test_a_short_text_beside_longer_ones_has_words_that_can_go() -> None:
    longer = Background({"t": np.array([["a review of some words"], ["it was fine, as ever"]], object)})
    (change,) = Explainer("reviews:1", Praise(), Aids(longer)).counterfactuals({"t": np.array([["fine day"]], object)}, Wish())
    assert change is not None
    assert [one.before for one in change.changes] == ["fine"]


def test_a_method_that_does_not_exist_and_time_that_is_over_are_said(stocked) -> None:
    with open_explainer("pets", stocked) as explainer:
        with pytest.raises(SpecError, match="no method 'magic'"):
            explainer.explain(ROW, Wish(method="magic"))
        with pytest.raises(DeadlineError, match="within 1e-09 s"):
            explainer.counterfactuals(ROW, Wish(budget_s=1e-9))
        with pytest.raises(UnsupportedError, match="no tree ensemble"):
            explainer.explain(ROW, Wish(method="trees"))


@pytest.mark.slow  # PyTorch takes that long to import
def test_gradients_are_taken_of_the_versions_own_graph(stocked) -> None:
    pytest.importorskip("torch")
    with open_explainer("pets", stocked) as explainer:
        (found,) = explainer.explain(ROW, Wish(method="gradients"))
    assert found.method is Method.GRADIENTS
    assert abs(found.gap) <= 1e-3 * max(abs(found.output - found.base), 1e-3)


def test_background_rows_are_few_drawn_once_and_small() -> None:
    rows = Dataset({"x": np.arange(4000.0).reshape(1000, 4), "s": np.arange(1000)})
    drawn = draw_background(rows, 100)
    assert len(drawn["x"]) == len(drawn["s"]) == 100
    assert np.array_equal(drawn["x"][:, 0] / 4, drawn["s"])
    assert np.array_equal(drawn["s"], draw_background(rows, 100)["s"])
    assert len(draw_background(Dataset({"x": np.zeros((50, 512, 512), np.float32)}), 100)["x"]) == 4
    assert len(draw_background(Dataset({"x": np.zeros((3, 2))}), 100)["x"]) == 3
    assert draw_background(Dataset({"x": np.zeros((3, 2))}, is_synthetic=True), 100) == {}
    assert draw_background(rows, 0) == {}


def test_a_file_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    _, interface = registered.scaler(tmp_path / "scale.onnx")
    files = {BACKGROUND_FILE: tmp_path / BACKGROUND_FILE}
    write_background(files[BACKGROUND_FILE], {"x": np.zeros((5_000_000, 4), np.float32)})
    assert files[BACKGROUND_FILE].stat().st_size < 2**20
    with pytest.raises(CorruptError, match="would unpack to 80,000"):
        read_background(files, interface)
    files[BACKGROUND_FILE].write_bytes(b"no archive")
    with pytest.raises(CorruptError, match="does not hold tensors"):
        read_background(files, interface)


def test_background_rows_come_back_and_have_to_fit(tmp_path: Path) -> None:
    _, interface = registered.scaler(tmp_path / "scale.onnx")
    files = {name: tmp_path / name for name in ("golden.npz", BACKGROUND_FILE)}
    write_golden(files["golden.npz"], Golden({"x": np.zeros((2, 4), np.float32)}, {}))
    write_background(files[BACKGROUND_FILE], {"x": np.ones((5, 4), np.float32)})
    assert read_background(files, interface).count == 5
    assert read_background(files, interface).note == ""
    write_background(files[BACKGROUND_FILE], {"x": np.ones((5, 3), np.float32)})
    with pytest.raises(CorruptError, match="do not fit"):
        read_background(files, interface)
    del files[BACKGROUND_FILE]
    assert read_background(files, interface).count == 2
    assert "golden" in read_background(files, interface).note
