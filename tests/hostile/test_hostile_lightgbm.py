"""O10: 781 changed numbers in LightGBM's text, one at a time: each is refused, or what is read keeps its law."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightgbm_corpus import mutated

from fairlead.errors import InputError
from fairlead.security.lightgbm_text import parse_lightgbm
from fairlead.security.lightgbm_trees import ensemble_of

TEXT = (Path(__file__).parents[1] / "data" / "trees" / "binary.txt").read_text(encoding="utf-8")
TREE = TEXT[TEXT.index("Tree=0") : TEXT.index("Tree=1")]
KEYS = [line.partition("=")[0] for line in TREE.splitlines()[1:] if "=" in line]
VALUES = ("-99", "-1", "0", "1", "2147483647", "-2147483648", "4294967296", "99999999999999999999", "1e308", "nan", "")
INDICES = ("split_feature", "left_child", "right_child", "cat_boundaries", "cat_threshold", "num_cat", "num_leaves")


def is_refused(text: str) -> bool:
    try:
        ensemble = ensemble_of(parse_lightgbm(text.encode()))
    except InputError:
        return True
    ensemble.check()
    return False


@pytest.mark.parametrize("key", KEYS)
def test_every_changed_number_is_refused_or_read_soundly(key: str):
    count = len(TREE[TREE.index(f"\n{key}=") :].split("\n")[1].split(" "))
    refused = sum(is_refused(mutated(TEXT, key, value, place)) for place in range(count) for value in VALUES)
    assert refused or key in ("leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count", "split_gain")


# 2147483647 is in range for a word of 32 bits.
@pytest.mark.parametrize(
    ("key", "value"), [(key, "-99") for key in INDICES] + [(key, "2147483647") for key in INDICES if key != "cat_threshold"]
)
def test_indices_and_counts_out_of_range_are_always_refused(key: str, value: str):
    count = len(TREE[TREE.index(f"\n{key}=") :].split("\n")[1].split(" "))
    assert all(is_refused(mutated(TEXT, key, value, place)) for place in range(count))


def test_the_text_itself_is_read():
    assert not is_refused(TEXT)
