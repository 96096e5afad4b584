"""What a pass is handed, and what it says about its work. Pure values.

A pass is a function of a PassJob that reads `source` and writes `destination`: a canonical ONNX file with the same inputs and outputs. It
raises UnsupportedError where it would do nothing or the model is not of its kind, SpecError for a setting that makes no sense. It never
changes `source`, gives the same file for the same job, and may be interrupted at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.artifact import Artifact
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface, Tensors
from fairlead.core.pass_use import Setting
from fairlead.core.ports import Sandbox


def _silent(_sentence: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """What passes work with, beside the model.

    `rows` are those that ranges are measured on, by input name, as they will be asked. `training` are rows with right answers to train on;
    none of them is ever evaluated on. `time_s` is how long it may take (0: as long as it needs); a pass that trains keeps the best so far.
    `artifact` is the original, for passes that start from the framework's own form; `rebuild` makes canonical ONNX, in a folder, of an
    artifact that a pass has changed. `report` takes a line of progress.
    """

    rows: Tensors | None = field(default=None, repr=False)
    training: Dataset | None = field(default=None, repr=False)
    interface: Interface | None = None
    artifact: Artifact | None = None
    rebuild: Callable[[Artifact, Path], Path] | None = None
    sandbox: Sandbox | None = None
    seed: int = 0
    thread_count: int = 1
    time_s: float = 0.0
    report: Callable[[str], None] = _silent


@dataclass(frozen=True)
class PassJob(Supplies):
    """One use of a pass. `settings` are complete: what the user did not set has the pass's default."""

    source: Path
    destination: Path
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class PassResult:
    """What a pass did: `versions` of the libraries it used, plain `parameters`, and sentences for the report."""

    versions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
