"""An ensemble answers as its members do, keeps what it needs, and is a version like any other."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app.api import _Silence
from fairlead.app.catalogue import export, list_models, show
from fairlead.app.ensemble import ComposeRequest, compose
from fairlead.app.ensemble_spec import parse_ensemble
from fairlead.app.load import open_model
from fairlead.app.model import open_version
from fairlead.core.requirement import parse_requirements
from fairlead.engines.ensemble_engine import EnsembleEngine, average, read_ensemble
from fairlead.engines.memory_probe import MemoryReading
from fairlead.errors import (
    CorruptError,
    DataError,
    NotFoundError,
    RejectedError,
    RequestError,
    SpecError,
    UnavailableError,
    UnsupportedError,
)
from fairlead.register.collect import sweep

ROWS = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
BLEND = """
steps:
  scale: {model: scale@production, inputs: {x: input.x}}
  left:  {model: "pets:1", inputs: {x: scale.y}}
  right: {model: others, inputs: {x: scale.y}}
  blend: {average: [left.scores, right.scores], weights: [2, 1]}
  choice: {vote: [left.scores, right.scores, blend]}
outputs: {scores: blend, animal: choice}
decision: scores
"""
CHAIN = "steps: {s: {model: scale, inputs: {x: input.x}}, p: {model: pets, inputs: {x: s.y}}}\noutputs: {scores: p}"


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Measuring memory starts two processes for each ensemble: one test does, the others know the answer."""
    if "slow" not in request.keywords:
        monkeypatch.setattr("fairlead.verify.stage.measure_memory", lambda *_, **__: MemoryReading(2, 1))


@pytest.fixture
def zoo(stocked, tmp_path):
    """The stocked house with a second classifier."""
    registered.add_version(stocked, "others", registered.classifier(tmp_path / "others.onnx", seed=5))
    np.savez(tmp_path / "rows.npz", x=ROWS)
    return stocked


def request(folder: Path, text: str = BLEND, **said) -> ComposeRequest:
    path = folder / "ensemble.yaml"
    path.write_text(text)
    return ComposeRequest(parse_ensemble(text), said.pop("name", "blend"), path, data=said.pop("data", folder / "rows.npz"), **said)


def by_hand(house, weights=(2, 1)):
    """What the blend gives, from the members one by one."""
    with open_model("scale:1", house) as scale, open_model("pets:1", house) as left, open_model("others:1", house) as right:
        scaled = scale.predict(ROWS)
        scores = [model.predict(scaled).astype(np.float64) for model in (left, right)]
    return ((weights[0] * scores[0] + weights[1] * scores[1]) / sum(weights)).astype(np.float32)


@pytest.mark.slow
def test_it_is_proven_registered_released_and_answers_as_its_members_do(zoo, tmp_path):
    made = compose(request(tmp_path), zoo, _Silence())
    assert (made.version.label, made.alias, made.previous) == ("blend:1", "production", 0)
    assert {check.name for check in made.verdict.checks} >= {"parity", "decisions", "batch invariance", "determinism"}
    assert made.verdict.parity.row_count == 50
    assert made.verdict.speed[0].call_count > 0
    assert made.verdict.memory_peak_bytes > 1
    with open_model("blend", zoo) as model:
        np.testing.assert_allclose(model.predict(ROWS), by_hand(zoo), rtol=1e-6)
        assert model.predict_labels(ROWS).tolist() == np.array(["cat", "dog", "owl"])[by_hand(zoo).argmax(axis=1)].tolist()
        assert asyncio.run(model.apredict(ROWS[:3])).shape == (3, 3)
        assert model.predict([{"c0": 1, "c1": 2, "c2": 3, "c3": 4}]).shape == (1, 3)


def test_a_later_version_of_a_member_changes_nothing(zoo, tmp_path):
    compose(request(tmp_path), zoo, _Silence())
    before = by_hand(zoo)
    registered.add_version(zoo, "scale", registered.scaler(tmp_path / "again.onnx", factor=9.0))
    registered.add_version(zoo, "others", registered.classifier(tmp_path / "again2.onnx", seed=77))
    with open_model("blend", zoo) as model:
        np.testing.assert_allclose(model.predict(ROWS), before, rtol=1e-6)
    assert [member.version for member in show("blend", zoo).ensemble.members] == ["scale:1", "pets:1", "others:1"]


def test_members_share_their_bytes_with_the_ensemble_and_no_sweep_takes_them(zoo, tmp_path):
    made = compose(request(tmp_path), zoo, _Silence())
    own = {entry.digest for name in ("scale", "pets", "others") for entry in zoo.records.version(name, 1).manifest.files}
    shared = [entry for entry in made.version.manifest.files if entry.name.startswith("member-")]
    assert {entry.name for entry in shared} == {"member-1.model.onnx", "member-2.model.onnx", "member-3.model.onnx"}
    assert {entry.digest for entry in shared} <= own
    time.sleep(0.01)
    sweep(records=zoo.records, blobs=zoo.blobs, grace_s=0.0)
    assert all(zoo.blobs.has(entry.digest) for entry in made.version.manifest.files)
    # Control: a blob that no version lists does go.
    (tmp_path / "loose").write_bytes(b"loose")
    with (tmp_path / "loose").open("rb") as file:
        loose = zoo.blobs.put(file)
    time.sleep(0.01)
    sweep(records=zoo.records, blobs=zoo.blobs, grace_s=0.0)
    assert not zoo.blobs.has(loose)


def test_composing_the_same_again_makes_no_new_version_of_the_graph(zoo, tmp_path):
    first = compose(request(tmp_path), zoo, _Silence())
    again = compose(request(tmp_path), zoo, _Silence())
    graphs = {entry.digest for made in (first, again) for entry in made.version.manifest.files if entry.name == "ensemble.json"}
    assert len(graphs) == 1
    assert again.previous == 1


def test_ensembles_are_members_of_ensembles(zoo, tmp_path):
    compose(request(tmp_path, CHAIN, name="chain"), zoo, _Silence())
    text = (
        "steps: {c: {model: chain, inputs: {x: input.x}}, o: {model: others, inputs: {x: input.x}}, m: {average: [c, o]}}\noutputs: {p: m}"
    )
    compose(request(tmp_path, text, name="outer"), zoo, _Silence())
    with open_model("outer", zoo) as outer, open_model("chain", zoo) as chain, open_model("others", zoo) as others:
        wanted = (chain.predict(ROWS).astype(np.float64) + others.predict(ROWS)) / 2
        np.testing.assert_allclose(outer.predict(ROWS), wanted, rtol=1e-6)
    names = [entry.name for entry in zoo.records.version("outer", 1).manifest.files]
    assert {"member-1.ensemble.json", "member-1.member-1.model.onnx", "member-2.model.onnx"} <= set(names)


def test_one_member_that_two_steps_use_is_loaded_once(zoo, tmp_path):
    text = (
        "steps: {a: {model: pets, inputs: {x: input.a}}, b: {model: 'pets:1', inputs: {x: input.b}}, m: {average: [a, b]}}\noutputs: {p: m}"
    )
    np.savez(tmp_path / "pairs.npz", a=ROWS, b=ROWS[::-1])
    compose(request(tmp_path, text, name="pair", data=tmp_path / "pairs.npz"), zoo, _Silence())
    with open_model("pair", zoo) as pair, open_model("pets", zoo) as pets:
        wanted = (pets.predict(ROWS).astype(np.float64) + pets.predict(ROWS[::-1].copy())) / 2
        np.testing.assert_allclose(pair.predict({"a": ROWS, "b": ROWS[::-1]}), wanted, rtol=1e-6)
        assert len(pair._engine.ensemble.members) == 1


def test_without_data_rows_are_drawn(zoo, tmp_path):
    made = compose(request(tmp_path, CHAIN, data=None), zoo, _Silence())
    assert "drawn" in made.verdict.data_description
    with pytest.raises(DataError, match="accuracy"):
        compose(request(tmp_path, CHAIN, data=None, requirements=parse_requirements(["accuracy>=0.1"])), zoo, _Silence())


def test_a_promise_is_kept_or_nothing_is_registered(zoo, tmp_path):
    np.savez(tmp_path / "answers.npz", x=ROWS, y=by_hand(zoo).argmax(axis=1))
    said = {"data": tmp_path / "answers.npz", "requirements": parse_requirements(["accuracy>=0.99"])}
    made = compose(request(tmp_path, **said), zoo, _Silence())
    assert [(one.metric, one.candidate) for one in made.verdict.quality] == [("accuracy", 1.0)]
    with pytest.raises(RejectedError, match="p50_ms"):
        compose(request(tmp_path, name="slow", requirements=parse_requirements(["p50_ms<=0.000001"])), zoo, _Silence())
    assert zoo.records.latest("slow") is None
    assert list(zoo.work.iterdir()) == []


def test_a_graph_that_computes_something_else_than_its_members_is_rejected(zoo, tmp_path, monkeypatch):
    def swapped(tensors, weights):
        return average(tensors, weights[::-1])

    monkeypatch.setattr("fairlead.engines.ensemble_engine.average", swapped)
    with pytest.raises(RejectedError, match="parity"):
        compose(request(tmp_path), zoo, _Silence())


def test_a_member_that_does_not_answer_as_proven_stops_it(zoo, tmp_path):
    from fairlead.core.golden import Golden

    path, interface = registered.scaler(tmp_path / "bad.onnx")
    rows = registered.draw(interface, 2)
    registered.add_version(zoo, "bad", (path, interface), golden=Golden(rows, {"y": rows["x"] + np.float32(1)}))
    with pytest.raises(UnavailableError, match="bad:1 does not answer its golden requests"):
        compose(request(tmp_path, "steps: {s: {model: bad, inputs: {x: input.x}}}\noutputs: {y: s}"), zoo, _Silence())


def test_errors_name_the_step_and_its_model(zoo, tmp_path):
    with pytest.raises(NotFoundError, match=r"Step 'p': Nothing is registered as 'pest'\. Did you mean pets"):
        compose(request(tmp_path, CHAIN.replace("pets", "pest")), zoo, _Silence())
    text = "steps: {t: {model: table, inputs: {i: input.i}}}\noutputs: {y: t}"
    np.savez(tmp_path / "index.npz", i=np.arange(5))
    compose(request(tmp_path, text, name="t", data=tmp_path / "index.npz"), zoo, _Silence())
    with open_model("t", zoo) as model, pytest.raises(RequestError, match=r"Step 't' \(table:1\): The inputs hold the index 9"):
        model.predict(np.int64([9]))


def test_only_the_steps_that_the_asked_outputs_need_are_run(zoo, tmp_path):
    text = "steps: {p: {model: pets, inputs: {x: input.x}}, t: {model: table, inputs: {i: input.i}}}\noutputs: {scores: p, y: t}"
    np.savez(tmp_path / "both.npz", x=ROWS[:5], i=np.arange(5))
    compose(request(tmp_path, text, data=tmp_path / "both.npz"), zoo, _Silence())
    loaded = open_version(zoo.records.version("blend", 1), zoo)
    wrong = {"x": ROWS[:1], "i": np.int64([9])}
    assert loaded.engine.run(wrong, ["scores"])["scores"].shape == (1, 3)
    with pytest.raises(RequestError, match="Step 't'"):
        loaded.engine.run(wrong, ["y"])
    loaded.engine.close()
    with pytest.raises(UnavailableError):
        loaded.engine.run(wrong, ["scores"])
    if loaded.release is not None:
        loaded.release()


def test_it_is_shown_listed_and_refused_by_name_where_it_has_no_form_for_others(zoo, tmp_path):
    compose(request(tmp_path), zoo, _Silence())
    view = show("blend", zoo)
    assert view.lineage.is_unbroken()
    assert "blend: average of left.scores, right.scores, weights 2, 1" in view.ensemble.describe()
    assert "blend" in [row.name for row in list_models(zoo)]
    assert show("pets", zoo).ensemble is None
    with pytest.raises(UnsupportedError, match="no ONNX form"):
        export("blend", "open-inference", tmp_path / "out", zoo)


def test_a_file_that_is_no_ensemble_is_refused(tmp_path):
    for content in (b"{}", b"[1]", b'{"members": 3, "steps": [], "outputs": {}}'):
        (tmp_path / "ensemble.json").write_bytes(content)
        with pytest.raises(CorruptError, match="is no ensemble"):
            read_ensemble(tmp_path / "ensemble.json")


def test_members_are_closed_where_one_of_them_does_not_open(zoo, tmp_path, monkeypatch):
    compose(request(tmp_path, CHAIN), zoo, _Silence())
    folder = show("blend", zoo).report.parent
    plain = json.loads((folder / "ensemble.json").read_bytes())
    plain["members"][1]["file"] = "no-such-file"
    (tmp_path / "ensemble.json").write_text(json.dumps(plain))
    (tmp_path / "member-1.model.onnx").write_bytes((folder / "member-1.model.onnx").read_bytes())
    closed = []
    from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine

    monkeypatch.setattr(OnnxRuntimeEngine, "close", lambda _: closed.append(1))
    with pytest.raises(Exception, match="Member pets:1"):
        EnsembleEngine(tmp_path / "ensemble.json", show("blend", zoo).interface)
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stesp: {}", "unknown key 'stesp'. Did you mean 'steps'"),
        ("steps: {s: {modell: a}}", r"unknown key 'steps\.s\.modell'\. Did you mean 'model'"),
        ("steps: {s: {}}", "step 's' does nothing"),
        ("steps: {s: {model: a, average: [b]}}", "step 's' does model and average"),
        ("steps: {s: {average: [b], inputs: {x: a}}}", "step 's' has inputs"),
        ("steps: {s: {concat: [b], weights: [1]}}", "step 's' has weights"),
        ("steps: [a]", "steps: Expected `object`"),
        ("steps: {s: {model: a}}\nsteps: {}", "given twice"),
        ("outputs: &a {x: y}\nsteps: *a", "aliases"),
        ("- a", "holds a list"),
        ("steps: {s: {model: [a]}}", r"steps\.\.\.\.model: Expected|steps\[\.\.\.\]\.model: Expected"),
    ],
)
def test_the_file_is_refused_by_key(text, said):
    with pytest.raises(SpecError, match=said):
        parse_ensemble(text)
