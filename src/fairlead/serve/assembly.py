"""Put a loaded version together: an executor that runs it, and a scheduler that says when.

Takes a LoadedModel; gives a ServedVersion that nobody has asked yet. Raises what starting an executor raises. It runs nothing itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fairlead.core.observation import BatchObservation
from fairlead.core.ports import Clock, LoadedModel, ObservationSink
from fairlead.core.version import Version
from fairlead.engines.resident_engine import ResidentEngine
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.call_limit import CallLimits, ConcurrencyLimits
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.executor import Executor
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.scheduler import OnBatch, Run, Scheduler
from fairlead.serve.twin import Twin
from fairlead.serve.workers.host import WorkerHost
from fairlead.serve.workers.resident_executor import ResidentExecutor

Assemble = Callable[[Version, LoadedModel], ServedVersion]

_observation = BatchObservation._make  # takes a third of the time of a call with the same fields


@dataclass(frozen=True)
class Assembly:
    """How versions are run: `thread_count` calls at once for slow ones, batches by `batch`, every call told to `sink`; in processes of
    `workers` where that is given, and of each model no more calls at once than `limits` allows.
    """

    sink: ObservationSink
    thread_count: int
    batch: BatchPolicy = field(default_factory=BatchPolicy)
    workers: WorkerHost | None = None
    limits: CallLimits = field(default_factory=lambda: CallLimits(ConcurrencyLimits()))
    clock: Clock = time.time

    def assemble(self, version: Version, loaded: LoadedModel) -> ServedVersion:
        """Return `loaded` as a version that can be asked. Rows of requests are joined only where its verdict shows that this is safe."""
        executor = self._executor(version, loaded)
        policy = replace(self.batch, is_enabled=self.batch.is_enabled and loaded.is_batch_invariant)
        scheduler = Scheduler(executor, policy, self._tell_of(version), limit=self.limits.of(version.name))
        golden = loaded.golden
        example = {} if golden is None else {name: tensor[:1] for name, tensor in golden.inputs.items()}
        twin = None if loaded.open_twin is None else Twin(loaded.open_twin, loaded.twin_bytes)
        return ServedVersion(version, executor, scheduler, is_deterministic=loaded.is_deterministic, example=example, twin=twin)

    def _executor(self, version: Version, loaded: LoadedModel) -> Executor:
        """Return what runs it: worker processes where there are to be some, the process that it has of its own, or this one."""
        if self.workers is not None and loaded.recipe is not None:
            return self.workers.open(version.label, loaded.recipe, loaded.golden)
        if isinstance(loaded.engine, ResidentEngine):
            return ResidentExecutor(loaded.engine)
        return EngineExecutor(loaded.engine, self.thread_count, is_blocking=loaded.may_block)

    def _tell_of(self, version: Version) -> OnBatch:
        """Return what tells the sink of each call of that version."""
        sink, clock, name, number = self.sink, self.clock, version.name, version.number

        def tell(run: Run) -> None:
            sink.record_batch(_observation((name, number, clock(), *run)))

        return tell
