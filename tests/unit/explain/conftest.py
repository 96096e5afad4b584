"""Lets tests import the small models of tests/unit/engines/tiny_onnx.py."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = str(Path(__file__).parents[1] / "engines")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
