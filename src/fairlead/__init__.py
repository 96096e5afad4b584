"""Fairlead: from a trained model and a requirement to a proven, versioned, running endpoint.

    import fairlead

    deployed = fairlead.deploy("model.h5", name="digits", data="digits.npz", require=["accuracy>=0.95", "p99_ms<=10"])
    model = fairlead.load("digits")
    model.predict(rows)

Importing this package loads no machine-learning library; the names below bring theirs when they are first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from fairlead._version import __version__
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.app.api import Deployed, Model, deploy, load, rollback

__all__ = ["Deployed", "FairleadError", "Model", "__version__", "deploy", "load", "rollback"]

# From 1.31 on, ONNX Runtime reports how it is used to its maker, from a thread that importing it starts, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {"Deployed", "Model", "deploy", "load", "rollback"}


def __getattr__(name: str) -> Any:
    """Bring the names of `fairlead.app.api` when they are first used."""
    if name in _LAZY:
        return getattr(importlib.import_module("fairlead.app.api"), name)
    raise AttributeError(f"module 'fairlead' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
