"""Requests over every route into the log, and nothing into it that must not be there."""

from __future__ import annotations

import errno
import json
import struct
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from registered import new_house, wait_until

from fairlead.app import recording as recording_module
from fairlead.app.observations import open_log
from fairlead.app.recording import LabelKeeper, recording
from fairlead.app.wiring import House
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.observation_log import LogWindow
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.server import ServeJob, ServerThread
from fairlead.stores.prediction_log_folder import LogFolder

TEXT, HEADER, NUMBER = "planted-text-7f3a", "planted-header-91c2", 31337.25
WINDOW = LogWindow("m")


class Engine:
    """y = age of each row; takes what a caller may not want to be kept."""

    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 2), ("age", "card_number")), TensorSpec("note", DType.BYTES, (None, 1))),
        (TensorSpec("y", DType.FP32, (None, 1)),),
    )
    description = "fake 1.0"

    def run(self, inputs, outputs=()):
        return {"y": inputs["x"][:, :1].copy()}

    def close(self) -> None:
        pass


class OneModel:
    def aspired(self):
        return {"m": Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)}

    def sequence(self) -> int:
        return 1

    def load(self, version) -> LoadedModel:
        return LoadedModel(Engine())


@contextmanager
def served(house: House, *, report=print, worker_count: int = 0):
    """Yield the address of a server that keeps what it answers, and its recording."""
    with recording(house, report, is_on=True) as recorder:
        keeper = LabelKeeper(recorder, report)
        job = ServeJob(OneModel(), port=0, grpc_port=0, recorder=recorder.buffer, witness=keeper, report=report, worker_count=worker_count)
        with ServerThread(job) as running:
            yield running, recorder


def post(url: str, path: str, body: bytes, **headers: str) -> dict:
    request = urllib.request.Request(url + path, data=body, headers={"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as reply:
        content = reply.read()
    return json.loads(content) if content.startswith(b"{") else {}


def everything(folder: Path) -> bytes:
    """Every file below a folder, and every value of every Parquet file, which may be compressed."""
    parts = []
    for path in folder.rglob("*"):
        if path.is_file():
            parts += [path.as_posix().encode(), path.read_bytes()]
            if path.suffix == ".parquet":
                table = pq.ParquetFile(path).read()
                parts += [repr(table.schema).encode(), repr(table.to_pylist()).encode()]
                parts += [column.to_numpy().tobytes() for column in table.columns if column.type in {"float", "double"}]
    return b"\n".join(parts)


PLANTED = (TEXT.encode(), HEADER.encode(), str(NUMBER).encode(), struct.pack("<f", NUMBER), struct.pack("<d", NUMBER))
V2 = json.dumps(
    {
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [30, NUMBER]},
            {"name": "note", "shape": [1, 1], "datatype": "BYTES", "data": [TEXT]},
        ],
        "parameters": {"user": TEXT},
    }
).encode()
ROW = {"age": 30, "card_number": NUMBER, "note": TEXT}
SECRET_HEADERS = {"authorization": f"Bearer {HEADER}", "cookie": f"session={HEADER}", "x-user": HEADER}


def ask_over_everything(running: ServerThread, **headers: str) -> set[str]:
    """Ask once over each route, and return the ids of the requests."""
    asked = {
        "v2": ("/v2/models/m/infer", V2),
        "v2-version": ("/v2/models/m/versions/1/infer", V2),
        "predict": ("/predict", json.dumps({"input": [ROW]}).encode()),
        "v1": ("/v1/models/m:predict", json.dumps({"instances": [ROW]}).encode()),
        "invocations": ("/invocations", json.dumps({"dataframe_records": [ROW]}).encode()),
    }
    for name, (path, body) in asked.items():
        post(running.url, path, body, **{"x-request-id": f"id-{name}"}, **headers)
    return {f"id-{name}" for name in asked}


def ids(house: House) -> set[str]:
    return {identity for piece in open_log(house).scan(WINDOW, ("request_id",)) for identity in piece["request_id"].tolist()}


@pytest.fixture
def house(tmp_path):
    house = new_house(tmp_path / "home")
    return replace(house, settings=replace(house.settings, observe_flush_s=0.05))


def test_requests_over_every_route_are_kept_with_their_answers_and_late_labels(house) -> None:
    with served(house) as (running, _):
        asked = ask_over_everything(running)
        wait_until(lambda: ids(house) >= asked)
        told = post(running.url, "/v2/models/m/feedback", b'{"request_id": "id-v1", "label": 31}')
        assert (told["kept"], told["unknown"]) == (1, 0)
        log = open_log(house)
        columns = ("request_id", "input:age", "output:y", "route", "status", "label")
        wait_until(lambda: any(31 in piece["label"].tolist() for piece in log.scan(WINDOW, columns)))
        found = [row for piece in log.scan(WINDOW, columns) for row in zip(*(piece[name].tolist() for name in columns), strict=True)]
    assert {row[0]: row[5] for row in found} == dict.fromkeys(asked) | {"id-v1": 31}
    assert {row[1:5] for row in found} == {(30.0, 30.0, "http", "ok")}


def test_requests_over_grpc_are_kept(house) -> None:
    pytest.importorskip("grpc", reason="the extra 'grpc' is not installed")
    from fairlead.probe.grpc_client import GrpcClient
    from fairlead.probe.grpc_messages import infer_request

    note = np.array([[TEXT]], object)
    with served(house) as (running, _):
        client = GrpcClient(running.server.grpc_address)
        request = infer_request("m", {"x": np.float32([[30, NUMBER]]), "note": note}, request_id="own-1")
        assert client.call("ModelInfer", request).status == "OK"
        assert client.stream("ModelStreamInfer", [request, request], answer="ModelStreamInferResponse")[1] == "OK"
        client.close()
        log = open_log(house)
        wait_until(lambda: log.size(WINDOW).row_count == 3)
        (routes, owns) = ([v for p in log.scan(WINDOW, (name,)) for v in p[name].tolist()] for name in ("route", "own_id"))
    assert (set(routes), set(owns)) == ({"grpc"}, {"own-1"})


def test_secrets_in_inputs_headers_and_texts_never_reach_the_disk(house) -> None:
    told: list[str] = []
    with served(house, report=told.append) as (running, _):
        asked = ask_over_everything(running, **SECRET_HEADERS)
        wait_until(lambda: ids(house) >= asked)
    kept = everything(house.settings.home)
    assert [secret for secret in PLANTED if secret in kept] == []
    assert [line for line in told if TEXT in line or HEADER in line] == []


def test_the_search_for_secrets_finds_those_that_a_rule_keeps(house) -> None:
    """The control of the test above: it can fail."""
    open_house = replace(house, settings=replace(house.settings, observe_redact="note=keep, card_number=keep"))
    with served(open_house) as (running, _):
        asked = ask_over_everything(running, **SECRET_HEADERS)
        wait_until(lambda: ids(house) >= asked)
    kept = everything(house.settings.home)
    assert [secret for secret in PLANTED if secret in kept] == [
        secret for secret in PLANTED if secret != HEADER.encode() and secret in kept
    ]
    assert TEXT.encode() in kept
    assert struct.pack("<f", NUMBER) in kept


def test_a_disk_that_fills_costs_no_answer_and_what_is_lost_is_counted(house, monkeypatch) -> None:
    told: list[str] = []
    real = Path.replace

    def full(self, target):
        if str(target).endswith(".parquet"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    with served(house, report=told.append) as (running, recorder):
        asked = ask_over_everything(running)
        wait_until(lambda: recorder.read().counts["m"].written == 5)  # the control
        monkeypatch.setattr(Path, "replace", full)
        ask_over_everything(running)
        wait_until(lambda: recorder.read().counts["m"].failed == 5)
        monkeypatch.undo()
        ask_over_everything(running)
        wait_until(lambda: recorder.read().counts["m"].written == 10)
    assert ids(house) == asked
    assert open_log(house).size(WINDOW).row_count == 10
    assert list(house.settings.home.rglob(".incoming-*")) == []
    assert "No space is left" in "".join(told)


def test_a_log_that_hangs_costs_no_answer_and_what_waits_is_bounded(house, monkeypatch) -> None:
    gate, entered = threading.Event(), threading.Event()
    real = LogFolder.write

    def hanging(self, path, *parts):
        entered.set()
        gate.wait(60)
        real(self, path, *parts)

    monkeypatch.setattr(LogFolder, "write", hanging)
    monkeypatch.setattr(recording_module, "_HELD_BYTES", 4000)
    with served(house) as (running, recorder):
        ask_over_everything(running)
        assert entered.wait(30)
        for _ in range(12):
            ask_over_everything(running)
            recorder.buffer.collect()
        wait_until(lambda: recorder.read().counts["m"].dropped > 0)
        reading = recorder.read()
        assert reading.waiting_bytes < 40_000
        assert reading.counts["m"].written == 0
        gate.set()
        wait_until(lambda: sum(recorder.read().counts["m"][1:]) == 65)
        assert recorder.read().counts["m"].written > 0


def test_a_folder_that_cannot_be_written_costs_no_answer(house, tmp_path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    broken = replace(house, settings=replace(house.settings, observations=str(blocked / "log")))
    told: list[str] = []
    with served(broken, report=told.append) as (running, recorder):
        for _ in range(3):
            ask_over_everything(running)
            time.sleep(0.1)
        wait_until(lambda: recorder.read().counts["m"].failed == 15)
        blocked.unlink()
        ask_over_everything(running)
        wait_until(lambda: recorder.read().counts["m"].written == 5)
    said = [line for line in told if "bservations" in line]
    assert len(said) == 2, said
