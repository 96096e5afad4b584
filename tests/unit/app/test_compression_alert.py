"""From rows in the log to the alert CompressionLoss: what the uncompressed original says, labels, the finding, the alert."""

from dataclasses import replace

import numpy as np
import pytest
from observed import add_proven, answer, write_labels
from registered import classifier

from fairlead.app import quality_replay
from fairlead.app.alerting import evaluate
from fairlead.app.feedback import feed
from fairlead.app.quality_report import QualityRequest, QualityView, quality
from fairlead.app.quiet import Quiet
from fairlead.cli.quality_text import quality_text
from fairlead.core.outcome import Keeping, LossBasis
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.monitor.page import read_page

ROWS = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)


class Scene:
    """`pets`, compressed at a loss: its original (`twin`) has other weights."""

    def __init__(self, house, folder, *promises: str) -> None:
        self.house, self.folder, self.model = house, folder, classifier(folder / "pets.onnx")
        self.twin = classifier(folder / "twin.onnx", seed=1)[0]
        self.version = add_proven(house, "pets", self.model, *promises, twin=self.twin)

    def ask(self, **more: np.ndarray) -> tuple[list[str], list[str], list[str]]:
        """Answer all rows; return ids, what the compressed model said, what its original says."""
        ids, said = answer(self.house, self.version, self.model, ROWS, **more)
        scores = OnnxRuntimeEngine(self.twin, self.model[1]).run({"x": ROWS})["scores"]
        return ids, said, [str(self.model[1].labels[place]) for place in scores.argmax(axis=1)]

    def label(self, ids: list[str], right: list[str]) -> None:
        feed("pets", write_labels(self.folder / "labels.csv", ids, right), self.house, Quiet())

    def fired(self) -> list[str]:
        return [alert.name for alert in evaluate(self.house).alerts if alert.is_firing]

    def view(self) -> QualityView:
        return quality(QualityRequest("pets", 3600.0), self.house)


@pytest.fixture
def scene(house, tmp_path):
    return Scene(house, tmp_path)


def test_a_model_that_loses_by_compression_is_told(scene) -> None:
    ids, _, right = scene.ask()
    scene.label(ids, right)
    fired = scene.fired()
    assert "CompressionLoss" in fired
    view = scene.view()
    assert view.loss is not None
    assert view.loss.loss.low <= view.loss.flips / view.loss.pairs <= view.loss.loss.high
    assert "Compression costs pets:1" in quality_text(view)


def test_a_model_that_differs_and_loses_nothing_is_not(scene) -> None:
    ids, said, right = scene.ask()
    scene.label(ids, [one if place % 2 else other for place, (one, other) in enumerate(zip(said, right, strict=True))])
    assert "CompressionLoss" not in scene.fired()


def test_what_was_promised_is_held_against_the_loss(house, tmp_path) -> None:
    scene = Scene(house, tmp_path, "accuracy_drop<=0.9")
    ids, _, right = scene.ask()
    scene.label(ids, right)
    assert "CompressionLoss" not in scene.fired()
    (promise,) = scene.view().promises
    assert promise.keeping is Keeping.KEPT


def test_without_labels_nothing_is_told(scene) -> None:
    scene.ask()
    assert "CompressionLoss" not in scene.fired()


def test_inputs_that_are_not_recorded_as_they_came_are_not_asked_again(scene) -> None:
    ids, _, right = scene.ask(**{"input:c0": np.zeros(len(ROWS), np.float32)})
    scene.label(ids, right)
    assert "CompressionLoss" not in scene.fired()
    view = scene.view()
    assert view.loss is None
    assert any("were not recorded as they came" in note for note in view.notes)


def test_a_long_window_is_asked_for_a_part_of_its_rows_all_over_it(scene, monkeypatch) -> None:
    monkeypatch.setattr(quality_replay, "ROWS_MOST", 100)
    ids, _, right = scene.ask()
    scene.label(ids[:300], right[:300])
    loss = scene.view().loss
    assert loss is not None
    assert (loss.pairs, loss.labelled < loss.flips) == (100, True)
    monkeypatch.setattr(quality_replay, "LABELLED_MIN", 200)
    loss = scene.view().loss
    assert loss is not None
    assert (loss.pairs, loss.labelled) == (100, loss.flips), "only labelled rows are asked where there are enough of them"


def test_a_model_that_is_not_compressed_is_asked_nothing_and_nothing_is_said(house, tmp_path) -> None:
    model = classifier(tmp_path / "plain.onnx")
    version = add_proven(house, "pets", model)
    answer(house, version, model, ROWS)
    view = quality(QualityRequest("pets", 3600.0), house)
    assert view.loss is None
    assert "ompress" not in quality_text(view)


def test_a_regression_that_is_compressed_says_why_no_loss_is_told(scene) -> None:
    interface = replace(scene.model[1], decision=None)
    assert quality_replay.replay(scene.version, interface, *context(scene)).problem == "its answers are no decisions"


def context(scene) -> tuple:
    from fairlead.app.observations import open_log
    from fairlead.app.quality_rows import read_rows
    from fairlead.core.observation_log import LogWindow

    scene.ask()
    log, window = open_log(scene.house), LogWindow("pets", (1,))
    return log, window, read_rows(log, window, scene.model[1]).rows, scene.house


def test_where_it_cannot_be_asked_again_servers_say_how_often_the_original_decided_otherwise(scene, monkeypatch) -> None:
    scene.ask(**{"input:c0": np.zeros(len(ROWS), np.float32)})
    of = 'model="pets",version="1"'
    text = (
        f'fairlead_comparisons_total{{{of},kind="twin"}} 400\nfairlead_comparison_flips_total{{{of},kind="twin"}} 8\n'
        f"fairlead_rows_total{{{of}}} 40000\nfairlead_request_duration_seconds_count{{{of}}} 40000\n"
    )
    monkeypatch.setattr("fairlead.app.quality_report.server_pages", lambda _: [read_page(text, 0.0)])
    view = scene.view()
    assert view.loss is not None
    assert (view.loss.pairs, view.loss.flips, view.loss.basis) == (400, 8, LossBasis.FLIPS)
    assert "at most 3.90 points of accuracy" in quality_text(view)
    several = text.replace("_total{" + of + "} 40000", "_total{" + of + "} 90000")
    monkeypatch.setattr("fairlead.app.quality_report.server_pages", lambda _: [read_page(several, 0.0)])
    assert scene.view().loss is None, "what is counted are requests, not their rows"
