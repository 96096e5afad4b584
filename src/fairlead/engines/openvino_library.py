"""OpenVINO, imported so that it neither reports nor leaves anything: the one place that imports it.

Gives `openvino` and `core()`. Raises ModuleNotFoundError where it is not installed. The library reports its own import to its maker and
keeps an identity in the folder `intel` of the home; where its telemetry package cannot be imported, it takes an inert stand-in of its own.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # None is how Python says: not to be imported

import openvino

__all__ = ["core", "openvino"]


@functools.cache
def core() -> Any:
    """Return the library's one core. Weights are read, not mapped: a mapped file that is cut ends the process."""
    made = openvino.Core()
    made.set_property({"ENABLE_MMAP": False})
    return made
