"""The user's own metrics by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead.app.custom_metrics import load_metrics
from fairlead.core.requirement import parse_requirements
from fairlead.errors import RequirementError


def test_a_function_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_metrics.py").write_text("def profit(y_true, y_pred):\n    return float((y_true == y_pred).sum() * 2)\n")
    monkeypatch.chdir(tmp_path)
    metrics = load_metrics(parse_requirements(["shop_metrics:profit>=1", "accuracy>=0.5"]))
    assert metrics["shop_metrics:profit"](np.array([1, 2]), np.array([1, 3])) == 2.0


@pytest.mark.parametrize("name", ["no_such_module_here:f", "json:no_such_function", "json:__doc__"])
def test_a_name_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(RequirementError):
        load_metrics(parse_requirements([f"{name}>=1"]))
