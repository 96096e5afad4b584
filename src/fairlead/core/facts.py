"""What a model is made of and what a machine can do at most: the numbers that a prediction starts from. Pure values.

Laws: nothing here is guessed; what could not be counted or measured is named in `notes`. Counts of a model are for one row, batch 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelFacts:
    """What one row costs, whatever the machine.

    `operation_count`: ONNX operators by type (inside a loop or branch: once). `flops_by_kind`: floating-point operations of one row by what
    they are for (convolution, matrix, recurrent, elementwise, normalization, pooling, trees), a multiply-add being two; of trees,
    comparisons. `weight_bytes` is what one call reads of the constants, however many rows it has; `activation_bytes` what one row reads and
    writes between operators. `activation_peak_bytes`: the most that is alive at once for one row, in the order of the file. `tree_count`,
    `node_count` (leaves included), `max_depth` and `mean_depth` (splits on the way to a leaf, leaves weighing the same) are 0 without
    trees. `notes` say what was assumed, and what could not be counted: the figures are then lower bounds.
    """

    parameter_count: int
    parameter_bytes: int
    operation_count: Mapping[str, int]
    flops_by_kind: Mapping[str, float]
    weight_bytes: int
    activation_bytes: int
    activation_peak_bytes: int
    tree_count: int = 0
    node_count: int = 0
    max_depth: int = 0
    mean_depth: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def flops_per_row(self) -> float:
        """All operations of one row."""
        return sum(self.flops_by_kind.values())

    @property
    def bytes_moved_per_row(self) -> int:
        """What a call with one row reads and writes: the weights once, and what passes between operators."""
        return self.bytes_moved(1)

    @property
    def operator_count(self) -> int:
        """How many operators there are."""
        return sum(self.operation_count.values())

    def bytes_moved(self, rows: int) -> int:
        """Return what a call with `rows` rows reads and writes."""
        return self.weight_bytes + rows * self.activation_bytes


@dataclass(frozen=True)
class ArithmeticCeiling:
    """Operations per second on `thread_count` threads: of the runtime's own matrix product with elements of `dtype` ("FP32", "INT8"), or
    comparisons per second of its trees ("TREES").
    """

    dtype: str
    thread_count: int
    flops_per_s: float


@dataclass(frozen=True)
class MemoryCeiling:
    """Bytes per second, read and written, that `thread_count` threads move when they copy blocks of `block_bytes` again and again."""

    thread_count: int
    block_bytes: int
    bytes_per_s: float


@dataclass(frozen=True)
class Ceilings:
    """What a machine can do at most: measured (`is_measured`), or taken from a catalogue. `call_ms` is one call of a model that computes
    nothing, `operator_ms` what each further operator adds; `cache_bytes` by level ("L1d", "L2", "L3"). `measured_at` is in seconds
    since 1970; 0 for a catalogue's figures.
    """

    processor: str
    arithmetic: tuple[ArithmeticCeiling, ...]
    memory: tuple[MemoryCeiling, ...]
    call_ms: float = 0.0
    operator_ms: float = 0.0
    cache_bytes: Mapping[str, int] = field(default_factory=dict)
    measured_at: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    is_measured: bool = True

    def flops_per_s(self, dtype: str, thread_count: int) -> float:
        """Return the ceiling for `dtype` on as many threads, or on the most that is known below; 0.0 where the type is not known."""
        known = [item for item in self.arithmetic if item.dtype == dtype and item.thread_count <= thread_count]
        return max(known, key=lambda item: item.thread_count).flops_per_s if known else 0.0

    def bytes_per_s(self, thread_count: int, working_bytes: int) -> float:
        """Return the ceiling for data of `working_bytes`: that of the smallest block that is as large, else of the largest one; 0.0 where
        none is known.
        """
        known = [item for item in self.memory if item.thread_count <= thread_count]
        most = max((item.thread_count for item in known), default=0)
        blocks = sorted((item for item in known if item.thread_count == most), key=lambda item: item.block_bytes)
        fitting = [item for item in blocks if item.block_bytes >= working_bytes] or blocks[-1:]
        return fitting[0].bytes_per_s if fitting else 0.0
