"""O12: 1,120 changed numbers and 4,000 changed bytes in XGBoost's files: each is refused, or what is read keeps its law."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest
from xgboost_corpus import JSON, UBJ, changed

from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.errors import InputError
from fairlead.security.xgboost_model import parse_xgboost
from fairlead.security.xgboost_trees import ensemble_of

TREE = json.loads(JSON)["learner"]["gradient_booster"]["model"]["trees"][0]
VALUES = (
    -1,
    -2,
    0,
    1,
    0.5,
    12,
    13,
    99_999_999,
    2**31 - 1,
    2**31,
    -(2**31),
    2**63,
    2**64,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "1",
    None,
    [],
)
INDICES = ("left_children", "right_children", "split_indices", "split_type", "categories", "categories_nodes", "categories_segments",
           "categories_sizes")  # fmt: skip
# What says nothing about the answers: XGBoost keeps it for plots and for further training.
STATISTICS = {"base_weights", "loss_changes", "sum_hessian", "parents"}
ROWS = np.asarray([[0.0, np.nan, 3.0], [9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]], np.float32)


def read(data: bytes) -> TreeEnsemble | None:
    """The ensemble, sound and walked; None where the bytes are refused."""
    try:
        trees = ensemble_of(parse_xgboost(data))
    except InputError:
        return None
    trees.check()
    assert sums_of(trees, ROWS).shape == (3, trees.output_count)
    return trees


KEYS = sorted(key for key, value in TREE.items() if isinstance(value, list) and value)


@pytest.mark.parametrize("key", KEYS)
def test_every_changed_number_is_refused_or_read_soundly(key: str) -> None:
    places = range(0, len(TREE[key]), 3)
    refused = sum(read(changed(key, place, value)) is None for place in places for value in VALUES)
    assert refused or key in STATISTICS


@pytest.mark.parametrize("key", INDICES)
def test_indices_out_of_range_and_fractions_are_always_refused(key: str) -> None:
    """Leaves have no features and no right child: what stands there means nothing, as for XGBoost."""
    inner = [place for place, child in enumerate(TREE["left_children"]) if child != -1]
    places: Iterable[int] = inner if key in ("left_children", "right_children", "split_indices") else range(len(TREE[key]))
    values = (-99, 0.5, 99_999_999, 2**31, 10**400, float("nan"), "1", None)
    taken = [(place, value) for place in places for value in values if read(changed(key, place, value)) is not None]
    assert not taken


@pytest.mark.parametrize("data", [JSON, UBJ], ids=["json", "ubj"])
def test_2000_changed_bytes_end_in_a_refusal_or_in_a_sound_ensemble(data: bytes) -> None:
    random = np.random.default_rng(12)
    refused = 0
    for place, value in zip(random.integers(0, len(data), 2000).tolist(), random.integers(0, 256, 2000).tolist(), strict=True):
        refused += read(data[:place] + bytes([value]) + data[place + 1 :]) is None
    assert 500 < refused < 2000


def test_the_files_themselves_are_read() -> None:
    assert all(read(data) is not None for data in (JSON, UBJ, changed("left_children", 0, 1)))
