"""Builders of bad XGBoost files, made at test time from tests/data/trees. See corpus.py.

XGBoost 3.2 checks neither children nor features, outputs and categories of a file, and recurses without a bound (dmlc/xgboost#12113, open;
its authors do not mean it for untrusted files): the control is that it dies. JSON is written without \\u, which XGBoost does not decode.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus import Case

_FOLDER = Path(__file__).parents[1] / "data" / "trees"
JSON, UBJ = ((_FOLDER / f"xgboost.{kind}").read_bytes() for kind in ("json", "ubj"))
_DOCUMENT: dict[str, Any] = json.loads(JSON)
CONTROLS = {
    "xgboost": """
import numpy, xgboost
booster = xgboost.Booster({"nthread": 1})
booster.load_model(bytearray(open(path, "rb").read()))
rows = numpy.array([[4.0, 4.0, 1.0], [-4.0, -4.0, 3.0], [0.1, numpy.nan, 0.0]] * 20)
booster.predict(xgboost.DMatrix(
    rows, feature_names=booster.feature_names, feature_types=booster.feature_types, enable_categorical=True
))
"""
}
_CHECKED = "XGBoost 3.2 refuses it itself"
_QUIET = "XGBoost 3.2 reads it without dying, what it answers is not defined"
_CRASHES = (
    ("left_children", 0, 99_999_999),
    ("left_children", 0, -99_999_999),
    ("right_children", 0, 99_999_999),
    ("left_children", 1, 0),  # a cycle
    ("split_indices", 0, 99_999_999),
    ("categories", 0, -99_999_999),
    ("categories_segments", 0, 99_999_999),
)
_OTHERS = (
    ("categories_sizes", 0, 99_999_999, "XGBoost 3.2 reads beyond its memory, and dies of it every second time only"),
    ("categories_nodes", 0, 99_999_999, _QUIET),
    ("categories", 0, 2**31 - 1, _CHECKED),
    ("left_children", 1, 5, _QUIET),  # a shared child
    ("left_children", 0, 1.5, _CHECKED),
    ("split_type", 0, 7, _QUIET),
    ("split_conditions", 0, float("nan"), _QUIET),
    ("split_conditions", 4, float("inf"), _QUIET),
)


def changed(key: str, place: int, value: object, number: int = 0) -> bytes:
    """The file with one number of one tree replaced."""
    model = copy.deepcopy(_DOCUMENT)
    model["learner"]["gradient_booster"]["model"]["trees"][number][key][place] = value
    return json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode()


def _emptied(key: str) -> bytes:
    model = copy.deepcopy(_DOCUMENT)
    model["learner"]["gradient_booster"]["model"]["trees"][0][key] = []
    return json.dumps(model, ensure_ascii=False).encode()


def _other_output() -> bytes:
    model = copy.deepcopy(_DOCUMENT)
    model["learner"]["gradient_booster"]["model"]["tree_info"][0] = 99_999_999
    return json.dumps(model, ensure_ascii=False).encode()


def _deep(depth: int) -> bytes:
    return JSON.replace(b'"attributes":{}', b'"attributes":{"a":' + b"[" * depth + b"]" * depth + b"}")


def _deep_ubj(depth: int) -> bytes:
    return b"{L" + (1).to_bytes(8, "big") + b"a" + b"[" * depth + b"]" * depth + b"}"


def _announced(count: int) -> bytes:
    """The first typed array says that it has `count` entries."""
    place = UBJ.index(b"[$l#L") + 5
    return UBJ[:place] + count.to_bytes(8, "big", signed=True) + UBJ[place + 8 :]


def _announced_key(count: int) -> bytes:
    place = UBJ.index(b"feature_names") - 8
    return UBJ[:place] + count.to_bytes(8, "big", signed=True) + UBJ[place + 8 :]


def _file(make: Callable[[], bytes], suffix: str = "json") -> Callable[[Path, Path], Path]:
    def build(folder: Path, _: Path) -> Path:
        path = folder / f"model.{suffix}"
        path.write_bytes(make())
        return path

    return build


def _crash(name: str, make: Callable[[], bytes], suffix: str = "json") -> Case:
    return Case("O12", f"xgboost-{name}", _file(make, suffix), "xgboost", library="xgboost", control_kind="crash", door="ingest")


def _quiet(name: str, make: Callable[[], bytes], why_not: str, suffix: str = "json") -> Case:
    return Case("O12", f"xgboost-{name}", _file(make, suffix), why_not=why_not, door="ingest")


def hostile_cases() -> Iterator[Case]:
    """Yield the O12 cases."""
    for key, place, value in _CRASHES:
        yield _crash(f"{key}-{place}-{value}", lambda key=key, place=place, value=value: changed(key, place, value))
    for key, place, value, why_not in _OTHERS:
        yield _quiet(f"{key}-{place}-{value}", lambda key=key, place=place, value=value: changed(key, place, value), why_not)
    yield _crash("no-categories", lambda: _emptied("categories"))
    yield _crash("an-output-that-does-not-exist", _other_output)
    yield _crash("json-1000000-deep", lambda: _deep(1_000_000))
    yield _crash("ubj-1000000-deep", lambda: _deep_ubj(1_000_000), "ubj")
    yield _crash("ubj-array-of-2^27", lambda: _announced(2**27), "ubj")
    yield _quiet("json-10000-deep", lambda: _deep(10_000), "XGBoost refuses the place where it stands; 1,000,000 deep it dies")
    yield _quiet("no-children", lambda: _emptied("left_children"), _CHECKED)
    yield _quiet("a-key-twice", lambda: JSON.replace(b'"version"', b'"learner"'), _CHECKED)
    for count in (2**62, 2**40, -1):
        yield _quiet(f"ubj-array-of-{count}", lambda count=count: _announced(count), "XGBoost asks for the memory, and gets none", "ubj")
        yield _quiet(f"ubj-key-of-{count}", lambda count=count: _announced_key(count), _CHECKED, "ubj")
