"""The engine for boosters that are no plain trees: it answers as the library does, checks the file first, and outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fairlead.core.interface import Interface
from fairlead.engines import booster_engine
from fairlead.engines.opening import open_engine
from fairlead.errors import CorruptError, DataError, MissingExtraError, SourceError
from fairlead.ingest.answers import parse_answer
from fairlead.ingest.catboost_reader import read_in_sandbox as read_catboost
from fairlead.ingest.lightgbm_reader import read_in_sandbox as read_lightgbm
from fairlead.security.sandbox import OneShotSandbox

DATA = Path(__file__).parents[2] / "data" / "trees"
CATEGORIES, LINEAR = DATA / "categories.cbm", DATA / "linear.txt"
TABLE = [
    ["Rome", 31.5, "a", "3"],
    ["Oslo", np.nan, "b", "4"],
    ["", 60.0, "a", "0"],
    ["Atlantis", 18.25, "zz", "77"],
    ["Köln", 40.0, "b", "8"],
]
ROWS = {
    name: np.array([[row[place]] for row in TABLE], dtype=np.float32 if name == "age" else object)
    for place, name in enumerate(("city", "age", "kind", "zip"))
}


def interface(path: Path) -> Interface:
    read = read_catboost if path.suffix == ".cbm" else read_lightgbm
    found = parse_answer(read({"path": str(path), "scratch": ""})).interface
    assert found is not None
    return found


def here(path: Path, library: str) -> Any:
    """What the process would call, in this process."""
    arguments = {"path": str(path), "interface": msgspec.to_builtins(interface(path)), "thread_count": 1, "library": library}
    return booster_engine.open_in_sandbox(arguments)


def by_catboost() -> Any:
    catboost = pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")
    model = catboost.CatBoostClassifier().load_model(str(CATEGORIES))
    return model, catboost.Pool(TABLE, cat_features=[0, 2, 3])


def test_it_answers_as_catboost_does_for_known_unknown_and_missing_values() -> None:
    model, pool = by_catboost()
    answer = here(CATEGORIES, "catboost")(ROWS)
    assert answer["label"].tolist() == model.predict(pool).reshape(-1).tolist()
    assert np.array_equal(answer["probabilities"], model.predict_proba(pool))


def test_a_whole_number_is_its_text_to_catboost_and_a_fraction_is_refused() -> None:
    model, _ = by_catboost()
    catboost = sys.modules["catboost"]
    texts = [["Rome", 31.5, "a", str(number)] for number in range(9)]
    numbers = [["Rome", 31.5, "a", number] for number in range(9)]
    assert np.array_equal(*(model.predict_proba(catboost.Pool(rows, cat_features=[0, 2, 3])) for rows in (texts, numbers)))
    with pytest.raises(catboost.CatBoostError, match="must be integer or string"):
        catboost.Pool([["Rome", 31.5, "a", 3.0]], cat_features=[0, 2, 3])


def test_it_answers_as_lightgbm_does_with_missing_values() -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="the extra 'lightgbm' is not installed")
    rows = np.random.default_rng(0).normal(size=(50, 4))
    rows[::5, 0] = np.nan
    answer = here(LINEAR, "lightgbm")({"x": rows})
    expected = lightgbm.Booster(model_file=str(LINEAR)).predict(rows, num_threads=1)
    assert np.array_equal(answer["probabilities"][:, 1], expected)
    assert np.array_equal(answer["label"], expected > 0.5)


def test_rows_that_catboost_refuses_are_an_error_of_the_data() -> None:
    by_catboost()
    with pytest.raises(DataError, match="CatBoost refuses these rows"):
        opened = booster_engine.open_in_sandbox(
            {
                "path": str(CATEGORIES),
                "interface": msgspec.to_builtins(replace(whole := interface(CATEGORIES), inputs=whole.inputs[:2])),
                "library": "catboost",
            }
        )
        opened(ROWS)


def test_a_damaged_file_is_refused_before_the_library_sees_it(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(CATEGORIES.read_bytes()[:-1])
    arguments = {"path": str(tmp_path / "m"), "interface": {}, "library": "catboost"}
    with pytest.raises(SourceError, match="not sound"):
        booster_engine.open_in_sandbox(arguments)


def test_the_library_is_told_by_the_files_first_bytes(tmp_path: Path) -> None:
    assert (booster_engine.library_of(CATEGORIES), booster_engine.library_of(LINEAR)) == ("catboost", "lightgbm")
    (tmp_path / "m").write_bytes(b"GGUF")
    with pytest.raises(CorruptError):
        booster_engine.library_of(tmp_path / "m")


@pytest.mark.parametrize(("path", "library"), [(CATEGORIES, "catboost"), (LINEAR, "lightgbm")])
def test_an_absent_library_is_named_with_its_extra(path: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"fairlead\[{library}\]"):
        open_engine("booster", path, interface(path), sandbox=OneShotSandbox())


def test_loading_the_engine_loads_no_library() -> None:
    code = "import sys, fairlead.engines.booster_engine; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "msgspec" in loaded
    assert not {"catboost", "lightgbm", "xgboost", "pandas"} & set(loaded.replace("'", " ").split())


@pytest.mark.slow
@pytest.mark.parametrize("path", [CATEGORIES, LINEAR], ids=["catboost", "lightgbm"])
def test_in_the_real_sandbox_it_answers_again_after_its_process_was_killed(path: Path) -> None:
    library = booster_engine.library_of(path)
    pytest.importorskip(library, reason=f"the extra '{library}' is not installed")
    rows = ROWS if library == "catboost" else {"x": np.random.default_rng(0).normal(size=(9, 4))}
    engine = open_engine("booster", path, interface(path), sandbox=OneShotSandbox())
    try:
        before, first = engine.run(rows), engine.pid
        os.kill(first, signal.SIGKILL)
        while engine.pid == first:
            time.sleep(0.01)
        after = engine.run(rows)
        assert all(np.array_equal(before[name], after[name]) for name in before)
        assert engine.pid not in {0, first}
        assert engine.description.startswith(f"{library} ")
    finally:
        engine.close()
