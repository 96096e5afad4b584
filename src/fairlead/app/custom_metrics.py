"""The user's own metrics, named `package.module:function` in a requirement.

Takes requirements, gives name -> function; raises RequirementError where a name leads nowhere. This imports and runs the user's own code,
which the user named on the command line or in fairlead.yaml; nothing from a model file or a request ever reaches it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fairlead.core.interface import Array
from fairlead.core.requirement import Requirement
from fairlead.errors import RequirementError

CustomMetric = Callable[[Array, Array], float]


def load_metrics(requirements: Iterable[Requirement]) -> Mapping[str, CustomMetric]:
    """Import every custom metric; the current folder is searched as `python -m` would."""
    names = {requirement.metric for requirement in requirements if requirement.is_custom}
    if not names:
        return {}
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return {name: _load(name) for name in sorted(names)}
    finally:
        sys.path.remove(here)


def _load(name: str) -> CustomMetric:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise RequirementError(f"The metric '{name}' cannot be imported: {error}.", hint="Run from the folder of the package.") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise RequirementError(f"'{module_name}' has no function '{attribute}'.", hint="It is called as function(y_true, y_pred) -> float.")
    metric: CustomMetric = function
    return metric
