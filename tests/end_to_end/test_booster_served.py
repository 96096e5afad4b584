"""A CatBoost model with categories: deployed, served by CatBoost in a process of its own, asked with records, that process killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")

import catboost

import fairlead
from fairlead.app.serving import RegistrySource
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.serve.server import ServeJob, ServerThread

pytestmark = pytest.mark.slow  # it deploys and serves in the real sandbox
MODEL = Path(__file__).parents[1] / "data" / "trees" / "categories.cbm"
DRAW = np.random.default_rng(0)
ROWS: list[list[Any]] = [
    [str(DRAW.choice(["Rome", "Oslo", "Köln", "", "Atlantis"])), float(DRAW.uniform(18, 90)), "ab"[number % 2], number % 11]
    for number in range(60)
]
NAMES = ("city", "age", "kind", "zip")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, and a registry in which the model is in production."""
    folder = tmp_path_factory.mktemp("people")
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([[*NAMES, "answer"], *([*row, label] for row, label in zip(ROWS, expected()[0], strict=True))])
    os.environ["FAIRLEAD_HOME"] = str(folder / "home")
    try:
        found = ["--data", str(folder / "people.csv"), "--target", "answer", "--require", "accuracy>=1", "--name", "people"]
        assert run(["deploy", str(MODEL), *found]) == 0
    finally:
        del os.environ["FAIRLEAD_HOME"]
    return folder


@pytest.fixture
def home(deployed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRLEAD_HOME", str(deployed / "home"))
    return deployed


def expected(rows: list[list[Any]] = ROWS) -> tuple[list[str], np.ndarray]:
    model = catboost.CatBoostClassifier().load_model(str(MODEL))
    pool = catboost.Pool(rows, cat_features=[0, 2, 3])
    return model.predict(pool).reshape(-1).tolist(), model.predict_proba(pool)


def ask(url: str, rows: list[dict[str, Any]]) -> tuple[int, Any]:
    request = urllib.request.Request(f"{url}/predict", json.dumps({"instances": rows}).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_is_not_onnx_and_says_why(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "people:1", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "No ONNX form: CatBoost hashes" in shown
    assert "model.booster" in shown


def test_records_are_answered_as_catboost_does_also_after_its_process_was_killed(home: Path) -> None:
    records = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    labels, probabilities = expected()
    with ServerThread(ServeJob(RegistrySource(build_house(), ["people"]), port=0)) as server:
        status, answer = ask(server.url, records)
        assert (status, answer["labels"]) == (200, labels)
        assert np.array_equal(answer["prediction"], probabilities)
        assert ask(server.url, [record | {"zip": str(record["zip"])} for record in records])[1]["labels"] == labels
        status, answer = ask(server.url, [records[0] | {"zip": 3.5}])
        assert (status, "strings or whole numbers" in answer["error"]) == (400, True)

        first = holder()
        os.kill(first, signal.SIGKILL)
        while holder() == first:
            time.sleep(0.01)
        until = time.monotonic() + 60
        while (found := ask(server.url, records))[0] == 503 and time.monotonic() < until:  # while it starts anew, that is said
            time.sleep(0.1)
        status, answer = found
        assert (status, answer.get("labels")) == (200, labels)
        assert holder() != first


def holder() -> int:
    """The process below this one that has CatBoost's library mapped; 0 where there is none."""
    for folder in Path("/proc").iterdir():
        try:
            is_ours = folder.name.isdecimal() and folder.name != str(os.getpid()) and str(os.getpid()) in ancestors(int(folder.name))
            if is_ours and "_catboost" in (folder / "maps").read_text():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return 0


def ancestors(pid: int) -> set[str]:
    found: set[str] = set()
    while pid > 1:
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        found.add(str(pid))
    return found


def test_a_file_of_rows_and_a_model_in_this_process_answer_alike(home: Path) -> None:
    assert run(["batch", "people", "--input", str(home / "people.csv"), "--output", str(home / "out.csv")]) == 0
    with (home / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [line["prediction"] for line in csv.DictReader(file)] == expected()[0]
    with fairlead.load("people") as model:
        assert model.predict_labels([dict(zip(NAMES, row, strict=True)) for row in ROWS]).tolist() == expected()[0]
