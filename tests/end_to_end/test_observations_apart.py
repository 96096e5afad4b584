"""Answers that other processes and several models together gave are in the log like any other: once each, with their own rows."""

from __future__ import annotations

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from ensemble_house import ROWS, house_of_members

from fairlead.app.observations import open_log
from fairlead.app.recording import recording
from fairlead.app.registry_source import RegistrySource
from fairlead.cli.main import run
from fairlead.core.observation_log import LogWindow
from fairlead.serve.server import ServeJob, ServerThread


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = house_of_members(tmp_path, monkeypatch)
    return replace(house, settings=replace(house.settings, observe_flush_s=0.05))


def ask(url: str, model: str, place: int) -> None:
    row = ROWS[place % len(ROWS)]
    body = {"id": f"own-{place}", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row.tolist()}]}
    headers = {"content-type": "application/json", "x-request-id": f"{model}-{place}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v2/models/{model}/infer", json.dumps(body).encode(), headers), timeout=30):
        pass


def kept(house, model: str) -> dict[str, tuple]:
    """Return own id, inputs and outputs of each request, which is there once."""
    log, found = open_log(house), {}
    columns = log.columns(LogWindow(model))
    names = ["request_id", "own_id", *(name for name in columns if name.startswith(("input:", "output:")))]
    for piece in log.scan(LogWindow(model), names):
        for identity, own, *values in zip(*(piece[name].tolist() for name in names), strict=True):
            assert identity not in found
            found[identity] = own, values
    return found


def ask_all(house, models: tuple[str, ...], count: int, *, worker_count: int) -> None:
    source = RegistrySource(house, models, is_apart=worker_count > 0)
    with recording(house, print, is_on=True) as recorder:
        job = ServeJob(source, port=0, grpc_port=0, worker_count=worker_count, recorder=recorder.buffer)
        with ServerThread(job) as server, ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda item: ask(server.url, *item), [(model, place) for place in range(count) for model in models]))


def check(house, model: str, count: int, answer) -> None:
    found = kept(house, model)
    assert set(found) == {f"{model}-{place}" for place in range(count)}
    for place in range(count):
        own, values = found[f"{model}-{place}"]
        row = ROWS[place % len(ROWS)]
        assert own == f"own-{place}"
        np.testing.assert_allclose(values, [*row, *answer(row)], rtol=1e-4)


def scaled(row: np.ndarray) -> np.ndarray:
    return (row - 1.0) * 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
def test_answers_of_every_worker_process_are_kept(house) -> None:
    ask_all(house, ("scale",), 60, worker_count=2)
    check(house, "scale", 60, scaled)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
def test_an_ensembles_answers_are_kept_as_its_own_and_not_as_its_members(house) -> None:
    assert run(["compose", "pipeline.yaml"]) == 0
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

    def answer(row: np.ndarray) -> np.ndarray:
        powers = np.exp(scaled(row) @ weights)
        return powers / powers.sum()

    ask_all(house, ("pipeline", "pets"), 20, worker_count=2)
    check(house, "pipeline", 20, answer)
    assert set(kept(house, "pets")) == {f"pets-{place}" for place in range(20)}
    assert kept(house, "scale") == {}
