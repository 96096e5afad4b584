"""What convert gives: a canonical ONNX file and how it came about. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.interface import Interface, Tensors
from fairlead.core.lineage import Step


@dataclass(frozen=True)
class Conversion:
    """`path` is a single-file ONNX model with a dynamic batch and exactly the names of `interface`.

    `probes` are rows that sit on the model's own decision thresholds and one unit in the last place to each side (None where it has
    none); verify adds them to the rows that it compares. `tolerance` is the largest difference from the original that this route
    promises, absolute below 1 and relative above.
    """

    path: Path
    interface: Interface
    steps: tuple[Step, ...]
    tolerance: float = 1e-5
    probes: Tensors | None = field(default=None, repr=False)
