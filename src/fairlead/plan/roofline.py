"""The time that a call takes at least, by arithmetic and memory alone: for hardware that is not here, and to see what a model waits for.

Takes ModelFacts and Ceilings; gives milliseconds, or a LatencyProfile made of them. Pure; raises UnsupportedError where the ceilings lack
what the model needs. Model: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009: a call takes as long as its arithmetic at
the peak or its bytes at the memory's speed, whichever is longer, and on top what starting a call and its operators costs.

What it does not know: how well a runtime's kernels reach the peak (small convolutions do not), what it fuses, and noise. So it is a
lower bound for a model that was never run, and `scaled` is better: a measured profile times the ratio of two bounds.
docs/reference/capacity.md has its error against measured times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairlead.core.facts import Ceilings, ModelFacts
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint
from fairlead.errors import UnsupportedError
from fairlead.plan.operator_work import CONVOLUTION, MATRIX, RECURRENT

_PRODUCTS = (CONVOLUTION, MATRIX, RECURRENT)
_TREES = "trees"
_INTEGER = ("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
NOTE = "calls were predicted from counted operations and a machine's ceilings, not measured"


@dataclass(frozen=True)
class Bound:
    """Milliseconds of one call: of its arithmetic at the peak, of its bytes at the memory's speed, and of starting it."""

    arithmetic_ms: float
    memory_ms: float
    start_ms: float

    @property
    def total_ms(self) -> float:
        """What the call takes at least."""
        return max(self.arithmetic_ms, self.memory_ms) + self.start_ms

    @property
    def limit(self) -> str:
        """What most of the time goes to: "arithmetic", "memory" or "starting calls"."""
        if self.start_ms >= max(self.arithmetic_ms, self.memory_ms):
            return "starting calls"
        return "arithmetic" if self.arithmetic_ms >= self.memory_ms else "memory"


def bound_of(facts: ModelFacts, ceilings: Ceilings, *, rows: int = 1, thread_count: int = 1) -> Bound:
    """Return the bound for a call with `rows` rows; raises UnsupportedError where a ceiling is missing."""
    products = sum(facts.flops_by_kind.get(kind, 0.0) for kind in _PRODUCTS)
    trees = facts.flops_by_kind.get(_TREES, 0.0)
    others = facts.flops_per_row - products - trees
    seconds = 0.0
    integer = any(name in facts.operation_count for name in _INTEGER)
    for dtype, work in (("INT8" if integer else "FP32", products), ("FP32", others), ("TREES", trees)):
        if not work:
            continue
        peak = ceilings.flops_per_s(dtype, thread_count)
        if peak <= 0:
            raise UnsupportedError(f"Nothing is known of how fast '{ceilings.processor}' is at {dtype}.", hint="Measure the model there.")
        seconds += rows * work / peak
    moved = facts.bytes_moved(rows)
    speed = ceilings.bytes_per_s(thread_count, facts.weight_bytes + rows * facts.activation_peak_bytes)
    if moved and speed <= 0:
        raise UnsupportedError(f"Nothing is known of the memory of '{ceilings.processor}'.", hint="Measure the model there.")
    return Bound(seconds * 1e3, moved / speed * 1e3 if moved else 0.0, ceilings.call_ms + facts.operator_count * ceilings.operator_ms)


def predict_profile(facts: ModelFacts, ceilings: Ceilings, batches: Sequence[int], thread_counts: Sequence[int]) -> LatencyProfile:
    """Return a profile of bounds, without any noise, for a model that was not run on that hardware."""
    points = tuple(
        _point(rows, count, bound_of(facts, ceilings, rows=rows, thread_count=count).total_ms)
        for count in sorted(set(thread_counts))
        for rows in sorted(set(batches))
    )
    return LatencyProfile(points, processor=ceilings.processor, is_measured=False, notes=(NOTE, *facts.notes))


def scaled(profile: LatencyProfile, facts: ModelFacts, here: Ceilings, there: Ceilings) -> LatencyProfile:
    """Return what a profile that was measured `here` becomes `there`: each point times the ratio of the two bounds.

    What the runtime's kernels reach of a peak is taken to be the same share in both places, and so is the noise.
    """
    points = []
    for point in profile.points:
        before, after = (
            bound_of(facts, ceilings, rows=point.batch, thread_count=point.thread_count).total_ms for ceilings in (here, there)
        )
        ratio = after / before
        times = {name: getattr(point, name) * ratio for name in ("p50_ms", "p95_ms", "p99_ms", "mean_ms")}
        points.append(replace(point, **times, sample_ms=tuple(value * ratio for value in point.sample_ms)))
    return replace(profile, points=tuple(points), processor=there.processor, is_measured=False, notes=(*profile.notes, NOTE))


def _point(rows: int, thread_count: int, time_ms: float) -> ProfilePoint:
    return ProfilePoint(rows, thread_count, time_ms, time_ms, time_ms, time_ms, cv=0.0, call_count=0, sample_ms=(time_ms,))
