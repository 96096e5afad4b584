"""Boosters in estimator files restore only what our own parsers let pass, whichever way the file goes; nothing stays changed afterwards."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")
pytest.importorskip("lightgbm", reason="the extra 'lightgbm' is not installed")
pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")

import catboost
import lightgbm
import skops.io
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_array

from fairlead.errors import InputError, SourceError, UnsafeContentError
from fairlead.security.booster_state import BoosterGuard
from fairlead.security.estimator_file import load_estimator

ROWS = np.random.default_rng(0).normal(size=(120, 3))
LABELS = (ROWS[:, 0] > 0).astype(int)
MODELS = {
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=3, n_jobs=1),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1),
    "catboost": lambda: catboost.CatBoostClassifier(iterations=3, thread_count=1, verbose=0, allow_writing_files=False),
}


def saved(estimator: Any, path: Path) -> tuple[Path, str]:
    if path.suffix == ".skops":
        skops.io.dump(estimator, path)
        return path, "sklearn-skops"
    path.write_bytes(pickle.dumps(estimator))
    return path, "sklearn-pickle"


@pytest.mark.parametrize("suffix", [".pkl", ".skops"])
@pytest.mark.parametrize("library", MODELS)
def test_an_honest_booster_comes_back_as_it_was(library: str, suffix: str, tmp_path: Path) -> None:
    estimator = MODELS[library]().fit(ROWS, LABELS)
    loaded: Any = load_estimator(*saved(estimator, tmp_path / f"model{suffix}"))
    np.testing.assert_array_equal(loaded.predict(ROWS), estimator.predict(ROWS))


@pytest.mark.parametrize("suffix", [".pkl", ".skops"])
def test_a_booster_of_lightgbm_with_a_child_that_does_not_exist_is_refused(suffix: str, tmp_path: Path, monkeypatch) -> None:
    estimator = MODELS["lightgbm"]().fit(ROWS, LABELS)
    honest = lightgbm.Booster.__getstate__

    def evil(booster: Any) -> dict[str, Any]:
        state = honest(booster)
        key = "_handle" if "_handle" in state else "handle"
        return {**state, key: state[key].replace("left_child=1", "left_child=9", 1)}

    monkeypatch.setattr(lightgbm.Booster, "__getstate__", evil)
    path, kind = saved(estimator, tmp_path / f"model{suffix}")
    with pytest.raises(SourceError):
        load_estimator(path, kind)


@pytest.mark.parametrize("handle", [b"no UBJSON", b"{", bytes(64)])
def test_a_booster_of_xgboost_with_other_bytes_is_refused(handle: bytes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(xgboost.Booster, "__getstate__", lambda _: {"handle": bytearray(handle)})
    path, kind = saved(MODELS["xgboost"]().fit(ROWS, LABELS), tmp_path / "model.pkl")
    with pytest.raises(SourceError):
        load_estimator(path, kind)


@pytest.mark.parametrize("handle", [7, b"bytes", "text", [1]])
def test_a_handle_of_another_kind_is_refused_before_the_library_takes_it_for_an_address(
    handle: object, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(xgboost.Booster, "__getstate__", lambda _: {"handle": handle})
    path, kind = saved(MODELS["xgboost"]().fit(ROWS, LABELS), tmp_path / "model.pkl")
    with pytest.raises(UnsafeContentError, match="state"):
        load_estimator(path, kind)


def test_a_model_of_catboost_with_a_changed_byte_is_refused_or_keeps_its_law(tmp_path: Path) -> None:
    data = pickle.dumps(MODELS["catboost"]().fit(ROWS, LABELS))
    start = data.index(b"CBM1")
    refused = 0
    for place in range(start + 4, start + 120, 3):
        path = tmp_path / "model.pkl"
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            load_estimator(path, "sklearn-pickle")
        except InputError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(("module", "name"), [("xgboost.core", "Booster"), ("lightgbm.basic", "Booster")])
def test_no_pickle_lets_a_constructor_read_a_model_by_itself(module: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(f"c{module}\n{name}\n(NNV/etc/hostname\ntR.".encode())
    with pytest.raises(UnsafeContentError, match="by itself"):
        load_estimator(path, "sklearn-pickle")


def test_the_classes_are_as_before_once_a_file_was_opened() -> None:
    before = [(kind, kind.__setstate__, kind.__init__) for kind in (xgboost.Booster, lightgbm.Booster)]
    with BoosterGuard() as guard:
        for module in ("xgboost.core", "lightgbm.basic", "catboost.core", "json"):
            guard.protect(module)
        assert xgboost.Booster.__setstate__ is not before[0][1]
    assert [(kind, kind.__setstate__, kind.__init__) for kind in (xgboost.Booster, lightgbm.Booster)] == before


def test_histogram_boosting_with_categories_keeps_the_one_partial_function_that_is_taken(tmp_path: Path) -> None:
    rows = np.column_stack([ROWS, np.arange(120) % 5])
    estimator = HistGradientBoostingClassifier(max_iter=3, categorical_features=[3]).fit(rows, LABELS)
    loaded: Any = load_estimator(*saved(estimator, tmp_path / "model.pkl"))
    np.testing.assert_array_equal(loaded.predict(rows), estimator.predict(rows))


PARTIALS = {
    "of another function": functools.partial(np.sqrt),
    "of a class": functools.partial(LogisticRegression, C=2.0),
    "with other options": functools.partial(check_array, dtype=[np.float64], ensure_all_finite=True),
    "with more options": functools.partial(check_array, dtype=[np.float64], ensure_all_finite=False, copy=True),
    "with another type": functools.partial(check_array, dtype=[np.float32], ensure_all_finite=False),
    "with an argument": functools.partial(check_array, ROWS, dtype=[np.float64], ensure_all_finite=False),
    "of nothing more": functools.partial(check_array),
}


@pytest.mark.parametrize("name", PARTIALS)
def test_every_other_partial_function_is_refused(name: str, tmp_path: Path) -> None:
    path, kind = saved(FunctionTransformer(PARTIALS[name]), tmp_path / "model.pkl")
    with pytest.raises(UnsafeContentError, match="partial"):
        load_estimator(path, kind)
