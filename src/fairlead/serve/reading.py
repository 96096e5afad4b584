"""A look at a running server, for metrics: what each version holds at the moment.

Takes the model table; gives readings. It belongs to the event loop's thread, changes nothing and costs a microsecond a version.
"""

from __future__ import annotations

from fairlead.core.server_reading import CacheReading, VersionReading
from fairlead.serve.model_table import ModelTable, ServedModel, State, VersionState
from fairlead.serve.response_cache import ResponseCache
from fairlead.serve.workers.worker_executor import WorkerExecutor


def read_versions(table: ModelTable) -> tuple[VersionReading, ...]:
    """Return every version that is loaded, loading, or failed to load."""
    return tuple(_read(table.models.get(state.name), state) for state in table.states())


def read_cache(cache: ResponseCache) -> CacheReading:
    """Return what the response cache holds."""
    return CacheReading(cache.size_bytes, len(cache), cache.eviction_count)


def _read(model: ServedModel | None, state: VersionState) -> VersionReading:
    served = None if model is None else model.versions.get(state.number)
    if served is None:
        return VersionReading(state.name, state.number, is_ready=False)
    workers = served.executor if isinstance(served.executor, WorkerExecutor) else None
    return VersionReading(
        state.name,
        state.number,
        is_ready=state.state is State.READY,
        in_flight=served.in_flight,
        queue_length=served.scheduler.waiting_count,
        memory_bytes=served.memory_bytes,
        worker_count=workers.worker_count if workers is not None else 0,
        alive_worker_count=workers.slot_count if workers is not None else 0,
        restart_count=workers.lost_count if workers is not None else 0,
    )
