"""Builders of bad LightGBM, CatBoost and booster-in-pickle files, made at test time. See corpus.py.

LightGBM 4.7 reads and writes out of bounds for indices that its text makes up (lightgbm-org/LightGBM#7357, open): the control is that it
dies.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from corpus import Case

_ASK = "import numpy; model.predict(numpy.array([[4.0] * 4, [-4.0] * 4] * 32))"
CONTROLS = {
    "lightgbm": f"import lightgbm\nmodel = lightgbm.Booster(model_file=path)\n{_ASK}",
    "catboost": f"import catboost\nmodel = catboost.CatBoost().load_model(path)\n{_ASK}",
    "catboost-categories": (
        "import catboost\nmodel = catboost.CatBoost().load_model(path)\n"
        "rows = [[city, 30.0, 'a', '3'] for city in ('Rome', 'Oslo', 'Köln', '', 'Bern')]\n"
        "model.predict(catboost.Pool(rows, cat_features=[0, 2, 3]))"
    ),
    "lightgbm-in-a-pickle": f"import pickle\nmodel = pickle.load(open(path, 'rb'))\n{_ASK}",
}
_ROWS = np.random.default_rng(0).normal(size=(200, 4))
_BUCKETS = 1  # TCtrValueTable.IndexHashRaw
_NO_CONTROL = "the installed LightGBM reads it without dying, what it answers is not defined"


def model_text() -> str:
    import lightgbm

    data = lightgbm.Dataset(_ROWS, _ROWS[:, 0] > 0)
    return str(lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 4, "num_threads": 1}, data, 2).model_to_string())


def _changed(key: str, value: str, place: int = 0) -> Callable[[Path, Path], Path]:
    """The first tree's array `key` with another number at `place`, its recorded size mended."""

    def build(folder: Path, _: Path) -> Path:
        path = folder / "model.txt"
        path.write_text(mutated(model_text(), key, value, place), encoding="utf-8")
        return path

    return build


def mutated(text: str, key: str, value: str, place: int = 0) -> str:
    start = text.index(f"\n{key}=") + len(key) + 2
    line = text[start : text.index("\n", start)]
    items = line.split(" ")
    items[place] = value
    changed = " ".join(items)
    size = text.index("tree_sizes=") + len("tree_sizes=")
    first = text[size : text.index(" ", size)]
    mended = text[:start] + changed + text[start + len(line) :]
    return mended[:size] + str(int(first) + len(changed) - len(line)) + mended[size + len(first) :]


def _pickled(folder: Path, _: Path) -> Path:
    """An honest estimator whose booster's text was changed."""
    import lightgbm

    estimator: Any = lightgbm.LGBMClassifier(n_estimators=2, num_leaves=4, verbose=-1, n_jobs=1).fit(_ROWS, _ROWS[:, 0] > 0)
    honest = estimator.booster_.model_to_string()
    evil = mutated(honest, "left_child", "-99999999")
    data = pickle.dumps(estimator, protocol=0).decode("latin-1")
    text = honest.encode("raw-unicode-escape").decode("latin-1").replace("\n", "\\u000a")
    assert text in data, "the pickle does not hold the text as expected"
    path = folder / "model.pkl"
    path.write_bytes(data.replace(text, evil.replace("\n", "\\u000a")).encode("latin-1"))
    return path


def _self_reading(folder: Path, _: Path) -> Path:
    """A pickle that lets the booster's own constructor read another file."""
    evil = folder / "evil.txt"
    evil.write_text(mutated(model_text(), "left_child", "-99999999"), encoding="utf-8")
    path = folder / "model.pkl"
    path.write_bytes(f"clightgbm.basic\nBooster\n(NNV{evil}\ntR.".encode())
    return path


def _partial(function: str, options: bytes = b"}") -> Callable[[Path, Path], Path]:
    """A pickle that keeps functools.partial of something else than check_array with scikit-learn's options."""

    def build(folder: Path, canary: Path) -> Path:
        module, name = function.split(":")
        path = folder / "model.pkl"
        kept = f"c{module}\n{name}\n".encode()
        call = b"cfunctools\npartial\n(" + kept + b"tR(" + kept + b"(" + f"Vtouch {canary}\n".encode() + b"t" + options + b"Ntb"
        path.write_bytes(b"(" + call + b"(tR." if function == "os:system" else call + b".")
        return path

    return build


def _cbm(field: int, value: int) -> Callable[[Path, Path], Path]:
    """A .cbm with the first number of one of its vectors changed (fields as in model.fbs)."""

    def build(folder: Path, _: Path) -> Path:
        source = (Path(__file__).parents[1] / "data" / "trees" / "symmetric.cbm").read_bytes()
        root = 8 + int.from_bytes(source[8:12], "little")
        trees = _follow(source, root + _offset(source, root, 1))
        vector = _follow(source, trees + _offset(source, trees, field)) + 4
        path = folder / "model.cbm"
        path.write_bytes(source[:vector] + value.to_bytes(4, "little", signed=True) + source[vector + 4 :])
        return path

    return build


def _tables(number: int, value: int, place: int = 0, width: int = 4) -> Callable[[Path, Path], Path]:
    """A .cbm whose first table of categories has another number at `place` of all its buckets (field 1), or another field."""

    def build(folder: Path, _: Path) -> Path:
        data = bytearray((Path(__file__).parents[1] / "data" / "trees" / "categories.cbm").read_bytes())
        start = 8 + int.from_bytes(data[4:8], "little") + 8
        table = start + int.from_bytes(data[start : start + 4], "little")
        field = table + _offset(bytes(data), table, number)
        first, count = (field, 1) if number != _BUCKETS else (_follow(bytes(data), field) + 4, 8)
        for bucket in range(count):
            spot = first + bucket * 12 + place
            data[spot : spot + width] = value.to_bytes(width, "little")
        path = folder / "model.cbm"
        path.write_bytes(data)
        return path

    return build


def _follow(data: bytes, place: int) -> int:
    return place + int.from_bytes(data[place : place + 4], "little")


def _offset(data: bytes, table: int, field: int) -> int:
    fields = table - int.from_bytes(data[table : table + 4], "little", signed=True)
    return int.from_bytes(data[fields + 4 + 2 * field : fields + 6 + 2 * field], "little")


def hostile_cases() -> Iterator[Case]:
    for key, value in (
        ("left_child", "-99999999"),
        ("right_child", "-99999999"),
        ("left_child", "2147483647"),
        ("split_feature", "99999999"),
    ):
        yield Case("O10", f"lightgbm-{key}-{value}", _changed(key, value), "lightgbm", library="lightgbm", control_kind="crash")
    for key, value in (("num_cat", "2147483647"), ("num_leaves", "2147483647"), ("decision_type", "255"), ("threshold", "nan")):
        yield Case("O10", f"lightgbm-{key}-{value}", _changed(key, value), why_not=_NO_CONTROL, library="lightgbm")
    yield Case(
        "O10", "lightgbm-text-in-a-pickle", _pickled, "lightgbm-in-a-pickle", library="lightgbm", control_kind="crash", door="ingest"
    )
    yield Case("O10", "lightgbm-constructor-in-a-pickle", _self_reading, "lightgbm-in-a-pickle", library="lightgbm", control_kind="crash",
               door="ingest")  # fmt: skip
    refused = "CatBoost 1.2.10 checks this itself, or answers something undefined"
    for field, name in ((1, "split"), (2, "size"), (3, "start"), (17, "packed-split")):
        yield Case("O10", f"catboost-{name}", _cbm(field, 2**31 - 1), why_not=refused)
    for name, build in (("index", _tables(_BUCKETS, 2**31 - 1, 8)), ("classes", _tables(4, 2**30))):
        yield Case("O10", f"catboost-table-{name}", build, "catboost-categories", library="catboost", control_kind="crash")
    endless = "CatBoost 1.2.10 searches a table without an empty bucket for ever"
    yield Case("O10", "catboost-table-full", _tables(_BUCKETS, 7, 0, 8), why_not=endless)
    yield Case("F11", "partial-of-system", _partial("os:system"), "pickle")
    allowed = "sklearn.linear_model._logistic:LogisticRegression"
    kept = "no code: it only shows that not even what is allowed may be kept"
    yield Case("F11", "partial-of-an-allowed-class", _partial(allowed), why_not=kept, library="sklearn")
