"""Lets tests import the small models of tests/unit/engines/tiny_onnx.py, and the models of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "engines"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
