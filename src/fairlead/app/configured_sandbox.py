"""A sandbox with the user's limits in place of each job's own. Raises what the sandbox inside raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairlead.core.ports import Resident, Sandbox, SandboxJob


@dataclass(frozen=True)
class ConfiguredSandbox:
    """`memory_bytes` and `wall_s` replace a job's own limits where they are not 0."""

    inside: Sandbox
    memory_bytes: int = 0
    wall_s: float = 0.0

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Run `job` with the user's limits."""
        return self.inside.run(self._configured(job))

    def start(self, job: SandboxJob) -> Resident:
        """Start a process that stays, with the user's limits."""
        return self.inside.start(self._configured(job))

    def layers(self) -> Mapping[str, str]:
        """Return the layers of the sandbox inside."""
        return self.inside.layers()

    def _configured(self, job: SandboxJob) -> SandboxJob:
        limits = replace(job.limits, memory_bytes=self.memory_bytes or job.limits.memory_bytes, wall_s=self.wall_s or job.limits.wall_s)
        return replace(job, limits=limits)
