"""The evidence that a candidate behaves: every number that was measured, on what, and whether each requirement is met. Pure values.

Law: a Verdict is green if and only if every check passed. Nothing is registered without a green Verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.core.requirement import Requirement
from fairlead.core.target import Machine


@dataclass(frozen=True)
class OutputParity:
    """Differences of one output over all rows: absolute, and relative to max(|original|, 1)."""

    output: str
    max_abs: float
    mean_abs: float
    max_rel: float


@dataclass(frozen=True)
class Flip:
    """A row that is decided otherwise, or whose number jumps: what original and candidate said, as a person reads it.

    `row` counts from 0 in the data, or in the probe rows where `is_probe`.
    """

    row: int
    is_probe: bool
    original: str
    candidate: str


@dataclass(frozen=True)
class Parity:
    """Original against candidate on the same rows. `decision_flip_count` is None where there is no decision rule or a number is the answer.

    `batch_max_abs` maps a batch size to the largest difference between rows run in batches of that size and all rows at once.
    `probe_count` says how many of the rows were built at the model's own thresholds, `probe_flip_count` how many of the flips (or jumps)
    are among those. `jump_count` counts rows whose number differs by more than the tolerance, None where the answer is no number.
    `flips` are the first rows that flip or jump. `tolerance` is what the candidate is held to, `exact_tolerance` what it would be held to
    without passes that change answers (0: the same).
    """

    row_count: int
    probe_count: int
    outputs: tuple[OutputParity, ...]
    decision_flip_count: int | None
    batch_max_abs: Mapping[str, float]
    is_deterministic: bool
    tolerance: float
    probe_flip_count: int = 0
    jump_count: int | None = None
    flips: tuple[Flip, ...] = ()
    exact_tolerance: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error (see core.calibration) of both models' probabilities on the same labelled rows."""

    original_ece: float
    candidate_ece: float
    bin_count: int
    row_count: int


@dataclass(frozen=True)
class ExplanationParity:
    """How alike original and candidate rank the parts of a row by what their answers hang on (see verify.attribution).

    `mean` is the mean of Spearman's rank correlation over `row_count` rows of `part_count` parts each, `low` its 10th percentile.
    """

    mean: float
    low: float
    row_count: int
    part_count: int


@dataclass(frozen=True)
class Quality:
    """A metric of original and candidate on the same labelled rows, with a 95 % interval each (low, high)."""

    metric: str
    original: float
    candidate: float
    original_interval: tuple[float, float]
    candidate_interval: tuple[float, float]
    row_count: int


@dataclass(frozen=True)
class Speed:
    """Latency of one call in milliseconds at a batch size, over `call_count` calls on `thread_count` threads."""

    batch: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    throughput_rps: float
    call_count: int
    thread_count: int


@dataclass(frozen=True)
class Check:
    """One thing that had to hold. `requirement` is None for the built-in ones (parity, decisions, batch invariance, determinism).

    `measured` is the number that was compared with the bound; `detail` is a sentence for a person. One that is no gate is told, not asked:
    a compressed model answers otherwise than the original by design, and the user's own requirements say how much it may lose.
    """

    name: str
    is_met: bool
    measured: float
    bound: str
    detail: str = ""
    requirement: Requirement | None = None
    is_gate: bool = True

    @property
    def sentence(self) -> str:
        """What was measured and what was needed."""
        return f"{self.name} is {self.measured:.6g}, needed {self.bound}"

    @property
    def is_failed(self) -> bool:
        """Whether it had to hold and does not."""
        return self.is_gate and not self.is_met


@dataclass(frozen=True)
class Verdict:
    """All evidence for one candidate. `reference` says what the original was run with, `seed` and `command` how to measure again."""

    candidate: str
    engine: str
    reference: str
    checks: tuple[Check, ...]
    parity: Parity
    quality: tuple[Quality, ...]
    speed: tuple[Speed, ...]
    size_bytes: int
    memory_peak_bytes: int
    original_size_bytes: int
    model_digest: str
    data_digest: str
    data_description: str
    row_count: int
    seed: int
    machine: Machine
    notes: tuple[str, ...] = ()
    command: str = ""
    calibration: Calibration | None = None
    explanation: ExplanationParity | None = None

    @property
    def is_green(self) -> bool:
        """Whether everything holds that had to."""
        return not self.failures

    @property
    def is_batch_invariant(self) -> bool:
        """Whether it was shown that rows give the same answers in every batch, to the precision that the original's form allows: 8-bit
        ranges that are found at run time depend on the whole batch.
        """
        precision = self.parity.exact_tolerance or math.inf
        return any(check.name == "batch invariance" and check.is_met and check.measured <= precision for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.is_failed)


def decision_sentence(parity: Parity) -> str:
    """Say how many decisions flipped (or numbers jumped), in rows of data and in probe rows apart."""
    rows = _counted(parity.row_count - parity.probe_count, "row")
    probes = f"{parity.probe_flip_count:,} in {_counted(parity.probe_count, 'row')} at its thresholds"
    if parity.decision_flip_count is not None:
        counted = f"{_counted(parity.decision_flip_count - parity.probe_flip_count, 'decision flip')} in {rows}"
    elif parity.jump_count is not None:
        counted = f"{_counted(parity.jump_count - parity.probe_flip_count, 'value')} off by more than {parity.tolerance:g} in {rows}"
    else:
        return f"no decision rule is known; the numbers of {rows} were compared"
    return f"{counted}, {probes}" if parity.probe_count else counted


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
