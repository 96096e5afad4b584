"""The matrix counts nothing as right that a battery did not say is right, and a battery that ends early is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import conversion_matrix as matrix  # noqa: E402 - found by the path above


@pytest.fixture
def battery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a battery of this source text."""

    def run(source: str) -> list[matrix.Row]:
        (tmp_path / "some_battery.py").write_text(source, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return list(matrix.run_battery("some_battery", sys.executable))

    return run


def test_rows_come_through_whatever_a_battery_prints(battery) -> None:
    found = battery(
        "def rows():\n    print('noise')\n    yield ('.onnx', 'dense: a', 'right', '1e-07')\n"
        "    yield ('.onnx', 'b', 'refused', 'why\\nnot')\n"
    )
    assert found == [matrix.Row(".onnx", "dense: a", "right", "1e-07"), matrix.Row(".onnx", "b", "refused", "why not")]
    assert [row.family for row in found] == ["dense", "models"]


@pytest.mark.parametrize(
    ("source", "rows", "why"),
    [
        ("def rows():\n    yield ('.onnx', 'a', 'right', '')\n    raise OSError", 2, "it ended with status 1"),
        ("import os\ndef rows():\n    os.abort()\n    yield", 1, "it ended with status -6"),
        ("def rows():\n    return []", 1, "it found nothing"),
        ("def rows():\n    yield ('.onnx', 'a', 'fine', 'x')", 1, "unknown outcome 'fine': x"),
        ("nothing = 1", 1, "it ended with status 1"),
    ],
)
def test_a_battery_that_does_not_end_well_is_wrong(battery, source: str, rows: int, why: str) -> None:
    found = battery(source)
    assert len(found) == rows
    assert (found[-1].outcome, found[-1].detail) == ("wrong", why)


def test_the_table_adds_up_and_shows_reasons() -> None:
    rows = [
        matrix.Row(".onnx", "dense: a", "right", "1.2e-07"),
        matrix.Row(".onnx", "dense: b", "right", "3e-06"),
        matrix.Row(".onnx", "odd: c", "refused", "An operator | of a company."),
        matrix.Row(".cbm", "trees: d", "absent", "catboost"),
        matrix.Row(".cbm", "trees: e", "wrong", "label 3 differs"),
    ]
    table = matrix.markdown(rows)
    assert "5 models in 2 formats: 2 right, 1 refused by name, 1 absent for a missing extra, 1 wrong." in table
    assert "| .onnx | dense | 2 | 2 |  |  |  | 3e-06 |" in table
    assert "- .onnx: An operator / of a company." in table
    assert "- .cbm: trees: e: label 3 differs" in table


def test_every_battery_that_is_named_is_there() -> None:
    assert [name for name in matrix.BATTERIES if not (BENCHMARKS / f"{name}.py").exists()] == []
