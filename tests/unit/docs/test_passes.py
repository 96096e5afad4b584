"""Every pass stands in the reference, with its class, its settings, and the values of them that are worth trying."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.optimize.catalog import PASSES, traits_of

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGES = "\n".join((REFERENCE / f"{name}.md").read_text() for name in ("passes", "training-passes", "tree-passes", "tfmot"))
AS_ABOVE = {"quantize_mixed_int8": ("method",), "train_tfmot": ("sparsity", "cluster_count")}  # or whose default alone is said
SHARED = ("epochs", "teacher")  # of all that train: said below their table


def line_of(name: str) -> str:
    """The pass's line in a table of passes: the first that begins with it."""
    return next((line for line in PAGES.splitlines() if line.startswith(f"| `{name}` |")), "")


@pytest.mark.parametrize("name", sorted(PASSES.variants))
def test_a_pass_is_explained_with_its_settings(name: str) -> None:
    where = PAGES if name == "train_tfmot" else line_of(name)  # which has a page of its own
    assert f"`{name}`" in where
    for setting, values in traits_of(name).settings.items():
        assert f"`{setting}`" in (PAGES if setting in SHARED else where)
        if len(values) > 1 and setting not in AS_ABOVE.get(name, ()):
            shown = where.partition(f"`{setting}`")[2]
            assert all(str(value).lower().removesuffix(".0") in shown for value in values if not isinstance(value, bool))


@pytest.mark.parametrize("name", sorted(name for name in PASSES.variants if not traits_of(name).needs_training))
def test_what_a_pass_may_do_to_answers_is_said(name: str) -> None:
    kind = traits_of(name).kind
    assert f"| {kind} |" in line_of(name)
