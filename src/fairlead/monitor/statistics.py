"""A version's numbers in the form of the statistics extension of the V2 protocol.

Takes a tally; gives JSON data: counts since the version was first asked, durations in nanoseconds, `last_inference` in Unix milliseconds.
What an engine does is not divided into input, computing and output: it is all `compute_infer`, and the other two count the same calls
with 0 ns. What each means: github.com/triton-inference-server/server, docs/protocol/extension_statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.monitor.tally import Spent, Tally

_NS = 1e6  # nanoseconds per millisecond


def statistics(model: str, version: int, tally: Tally | None) -> dict[str, object]:
    """Return the entry of `model_stats`; all zeros for a version that nobody asked."""
    if tally is None:
        return _entry(model, version, 0.0, 0, 0, dict.fromkeys(_PHASES, _duration(0, 0.0)), [])
    infer = tally.infer
    phases = {
        "success": _spent(tally.success),
        "fail": _spent(tally.fail),
        "queue": _spent(tally.queue),
        "compute_input": _duration(infer.count, 0.0),
        "compute_infer": _spent(infer),
        "compute_output": _duration(infer.count, 0.0),
        "cache_hit": _spent(tally.cache_hit),
        "cache_miss": _duration(tally.cache_miss, 0.0),
    }
    batches = [
        {
            "batch_size": rows,
            "compute_input": _duration(spent.count, 0.0),
            "compute_infer": _spent(spent),
            "compute_output": _duration(spent.count, 0.0),
        }
        for rows, spent in sorted(tally.batch_sizes.items())
    ]
    return _entry(model, version, tally.last_at, tally.run_row_count, tally.batch_outcomes[""], phases, batches)


_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


def _entry(
    model: str, version: int, last_at: float, row_count: int, call_count: int, phases: dict[str, dict[str, int]], batches: Sequence[object]
) -> dict[str, object]:
    return {
        "name": model,
        "version": str(version),
        "last_inference": round(last_at * 1e3),
        "inference_count": row_count,
        "execution_count": call_count,
        "inference_stats": phases,
        "response_stats": {},
        "batch_stats": batches,
        "memory_usage": [],
    }


def _spent(spent: Spent) -> dict[str, int]:
    return _duration(spent.count, spent.ms)


def _duration(count: int, spent_ms: float) -> dict[str, int]:
    return {"count": count, "ns": round(spent_ms * _NS)}
