"""Where versions get their workers from: what holds for all of them, and the event loop that they belong to.

Takes a version in words, how to open it and its golden requests; gives an executor that has answered them. Raises what opening and
answering raise. Called in a thread that may wait; everything that it starts lives in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.core.golden import Golden
from fairlead.core.recipe import EngineRecipe
from fairlead.serve.workers.fleet import WorkerJob, silent
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import WorkerExecutor, start_workers


@dataclass(frozen=True)
class WorkerHost:
    """Starts workers in `loop`, by `policy`; `report` takes sentences for the log."""

    loop: asyncio.AbstractEventLoop
    policy: WorkerPolicy = field(default_factory=WorkerPolicy)
    report: Callable[[str], None] = silent

    def open(self, label: str, recipe: EngineRecipe, golden: Golden | None) -> WorkerExecutor:
        """Return the workers of a version when they are ready. Not for the event loop's own thread."""
        job = WorkerJob(recipe, golden, label, self.policy, self.report)
        return asyncio.run_coroutine_threadsafe(start_workers(job), self.loop).result()
