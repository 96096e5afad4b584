"""An ensemble behind a real socket, answers from the cache, and both from the command line."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import registered
from ensemble_house import PIPELINE, ROWS, house_of_members

from fairlead.app.load import open_model
from fairlead.app.serving import RegistrySource
from fairlead.cli.main import run
from fairlead.serve.server import ServeJob, ServerThread


@pytest.fixture
def house(tmp_path, monkeypatch):
    return house_of_members(tmp_path, monkeypatch)


def ask(url: str, rows: np.ndarray) -> np.ndarray:
    body = json.dumps({"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}]})
    request = urllib.request.Request(f"{url}/v2/models/pipeline/infer", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        output = json.loads(answer.read())["outputs"][0]
    return np.asarray(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.slow
def test_an_ensemble_is_composed_shown_served_and_asked(house, capsys):
    assert run(["compose", "pipeline.yaml"]) == 0
    assert "pipeline:1 is in @production" in capsys.readouterr().out
    assert run(["show", "pipeline"]) == 0
    assert "pets: pets:1 (x = scale.y)" in capsys.readouterr().out
    assert run(["schema", "ensemble"]) == 0
    assert "steps" in json.loads(capsys.readouterr().out)["$defs"]["EnsembleSpec"]["properties"]
    with open_model("pipeline", house) as model:
        expected = model.predict(ROWS)
    job = ServeJob(RegistrySource(house, ("pipeline",)), port=0, cache_bytes=10**6, keep_warm_s=0.0)
    with ServerThread(job) as server:
        for _ in range(3):
            for number in range(30):
                np.testing.assert_allclose(ask(server.url, ROWS[number : number + 1]), expected[number : number + 1], rtol=1e-5)
        cache = server.server.plane.cache
        assert (cache.hit_count, cache.miss_count) == (60, 30)
        # Moving the alias takes the kept answers along.
        registered.add_version(house, "pipeline", registered.scaler(house.settings.home / "other.onnx"))
        registered.wait_until(lambda: ask(server.url, ROWS[:1]).shape == (1, 4))
        registered.wait_until(lambda: all(key[0] != expected_digest(house) for key in cache._entries))
        np.testing.assert_allclose(ask(server.url, ROWS[:1]), (ROWS[:1] - 1) * 0.5, rtol=1e-6)


def expected_digest(house) -> str:
    return house.records.version("pipeline", 1).digest


@pytest.mark.slow
def test_a_wrong_ensemble_is_refused_with_status_2(house, tmp_path, capsys):
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("scale.y", "scale.z"))
    assert run(["compose", "pipeline.yaml"]) == 2
    assert "step 'scale' gives no 'z'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_batch_runs_from_the_command_line(house, capsys):
    assert run(["batch", "pets", "--input", "rows.npz", "--output", "out.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": "pets:1", "rows": 30, "answered": 30, "left_out": {"rows": 0, "listed": None}}
    assert Path("out.csv").read_text().startswith('"prediction","score_cat"')
    assert run(["batch", "pets", "--input", "rows.npz", "--output", "out.csv"]) == 2
    assert "--overwrite" in capsys.readouterr().err
