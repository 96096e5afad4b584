"""A version's numbers in the form of the statistics extension of the V2 protocol.

Takes a tally; gives JSON data: counts since the version was first asked, durations in nanoseconds, `last_inference` in Unix milliseconds.
`compute_input` is joining the rows of several requests, `compute_output` parting their answers: 0 ns where a request runs alone. What
an engine does by itself is all `compute_infer`. What each means:
github.com/triton-inference-server/server, docs/protocol/extension_statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.monitor.tally import Spent, Tally

_NS = 1e6  # nanoseconds per millisecond


def statistics(model: str, version: int, tally: Tally | None) -> dict[str, object]:
    """Return the entry of `model_stats`; all zeros for a version that nobody asked."""
    if tally is None:
        return _entry(model, version, 0.0, 0, 0, dict.fromkeys(_PHASES, _duration(0, 0.0)), [])
    phases = {
        "success": _spent(tally.success),
        "fail": _spent(tally.fail),
        "queue": _spent(tally.queue),
        "compute_input": _spent(tally.input),
        "compute_infer": _spent(tally.infer),
        "compute_output": _spent(tally.output),
        "cache_hit": _spent(tally.cache_hit),
        "cache_miss": _spent(tally.cache_miss),
    }
    batches = [
        {
            "batch_size": rows,
            "compute_input": _duration(calls.count, calls.input_ms),
            "compute_infer": _duration(calls.count, calls.infer_ms),
            "compute_output": _duration(calls.count, calls.output_ms),
        }
        for rows, calls in sorted(tally.batch_sizes.items())
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
