"""What a person sees of the observation log: what is kept, rows, answers to questions; and what is wrong, said plainly."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fairlead.app.observations import open_log
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.core.observation_log import ObservedRows, RowLabel

sys.path.append(str(Path(__file__).parents[1] / "app"))
from registered import add_version, new_house, scaler


def rows(count: int, at: float, **more) -> ObservedRows:
    def texts(*values):
        return np.array(values, object)

    facts = {
        "at": at + np.arange(count) * 0.001,
        "latency_s": np.full(count, 0.0015),
        "request_id": texts(*(f"r{place}" for place in range(count))),
        "own_id": texts(*[""] * count),
        "arm": texts(*[""] * count),
        "route": texts(*["http"] * count),
        "status": texts(*["ok"] * count),
        "row": np.zeros(count, np.int32),
        "version": np.full(count, 1, np.int32),
        "share": np.ones(count, np.float32),
    }
    return ObservedRows("m", 1, facts | {"input:c0": np.arange(count, dtype=np.float32), "output:y": np.arange(count) * 2.0} | more)


@pytest.fixture
def log(fairlead_home):
    return open_log(build_house(fairlead_home))


def printed(capsys, *arguments: str, status: int = 0) -> str:
    assert run(arguments) == status
    out, err = capsys.readouterr()
    return out if status == 0 else err


def test_nothing_kept_is_said_and_how_something_will_be(capsys) -> None:
    assert "fairlead serve" in printed(capsys, "observations")
    assert "Nothing is kept of 'm'" in printed(capsys, "observations", "m", status=5)


def test_models_are_listed_with_how_much_is_kept(capsys, log) -> None:
    log.append(rows(1234, time.time()))
    out = printed(capsys, "observations")
    assert "m" in out
    assert "1,234" in out


def test_the_newest_rows_are_shown_with_their_labels(capsys, log) -> None:
    now = time.time()
    log.append(rows(50, now - 3000, **{"input:note": np.array(["evil\x1b[2J"] * 50, object)}))
    log.add_labels("m", [RowLabel("r49", 0, "cat", now)])
    out = printed(capsys, "observations", "m", "--limit", "2")
    lines = [line for line in out.splitlines() if line.strip().startswith(("0", "1", "AT"))]
    assert [line.split()[2] for line in lines[1:]] == ["r49", "r48"]
    assert "cat" in lines[1]
    assert "50 rows in 1 file" in out
    assert "\x1b[2J" not in out


def test_rows_come_as_json_for_programs(capsys, log) -> None:
    log.append(rows(3, time.time(), **{"input:image": np.zeros((3, 2, 2), np.float32)}))
    found = json.loads(printed(capsys, "observations", "m", "--json"))
    assert found["size"]["row_count"] == 3
    assert [row["input:c0"] for row in found["rows"]] == [2.0, 1.0, 0.0]
    assert found["rows"][0]["input:image"] == [[0.0, 0.0], [0.0, 0.0]]


def test_a_window_without_rows_says_where_to_look(capsys, log) -> None:
    log.append(rows(3, time.time() - 7200))
    assert "--since 7d" in printed(capsys, "observations", "m", "--since", "1h")
    assert "3 rows" in printed(capsys, "observations", "m", "--since", "1d", "--until", "1h")
    assert "empty" in printed(capsys, "observations", "m", "--since", "1h", "--until", "2h", status=2)


def test_what_is_torn_is_named(capsys, log, fairlead_home) -> None:
    log.append(rows(3, time.time()))
    (path,) = (fairlead_home / "observations").rglob("*.parquet")
    path.write_bytes(b"PAR1")
    assert run(["observations", "m"]) == 0
    assert path.name in capsys.readouterr().err


def test_questions_are_answered_in_sql(capsys, log) -> None:
    pytest.importorskip("duckdb", reason="the extra 'observe' is not installed")
    log.append(rows(10, time.time(), **{"input:flag": np.arange(10) % 2 == 0, "input:image": np.ones((10, 4), np.float32)}))
    log.append(rows(2, time.time() + 1))  # lacks two columns
    log.add_labels("m", [RowLabel("r9", 0, 7, time.time())])
    question = """
        select count(*) n, max("input:c0") top, count("input:flag") flags, max(label) label, sum(len("input:image")) size
        from observations
    """
    assert json.loads(printed(capsys, "observations", "m", "--sql", question, "--json")) == [
        {"n": 12, "top": 9.0, "flags": 10, "label": "7", "size": 40}
    ]
    assert "n" in printed(capsys, "observations", "m", "--sql", "select count(*) n from observations")
    assert run(["observations", "m", "--sql", "select * from observations", "--limit", "1"]) == 0
    assert "more rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "question",
    [
        "select",
        "select nope from observations",
        "select * from read_csv('/etc/passwd')",
        "copy observations to 'stolen.csv'",
        "attach 'x.db'",
        "install httpfs",
        "set enable_external_access = true",
        "select * from '/etc/passwd'",
    ],
)
def test_a_question_reaches_nothing_but_the_rows(capsys, log, question, tmp_path, monkeypatch) -> None:
    pytest.importorskip("duckdb", reason="the extra 'observe' is not installed")
    monkeypatch.chdir(tmp_path)
    log.append(rows(1, time.time()))
    assert "cannot be answered" in printed(capsys, "observations", "m", "--sql", question, status=2)
    assert not [path for path in tmp_path.iterdir() if path.suffix in {".csv", ".db"}]


def test_what_is_kept_is_shown_and_changed(capsys, fairlead_home, tmp_path) -> None:
    add_version(new_house(fairlead_home), "m", scaler(tmp_path / "m.onnx", 3))
    out = printed(capsys, "observe", "m", "--redact", "c0=drop, c1=bucket(10)", "--share", "25%", "--keep", "7d", "--keep-size", "1GiB")
    assert "25 % of its requests are kept for 7 days, 1.0 GiB at most" in out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("input:")] == [
        ["input:c0", "drop"],
        ["input:c1", "bucket(10)"],
        ["input:c2", "keep"],
    ]
    assert json.loads(printed(capsys, "observe", "m", "--json"))["rules"]["share"] == 0.25
    assert "nothing is kept" in printed(capsys, "observe", "m", "--off")
    assert "all requests are kept" in printed(capsys, "observe", "m", "--reset")
    assert "Did you mean 'c1'" in printed(capsys, "observe", "m", "--redact", "cc1=drop", status=2)
