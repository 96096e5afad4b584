"""The user's limits reach the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead.app.configured_sandbox import ConfiguredSandbox
from fairlead.core.ports import SandboxJob, SandboxLimits


class RememberingSandbox:
    """A sandbox that runs nothing and remembers what it was asked."""

    def __init__(self) -> None:
        self.jobs: list[SandboxJob] = []

    def run(self, job: SandboxJob) -> dict[str, Any]:
        self.jobs.append(job)
        return {}

    def start(self, job: SandboxJob) -> str:
        self.jobs.append(job)
        return "resident"

    def layers(self) -> dict[str, str]:
        return {"memory": "active"}


def test_limits_that_the_user_set_replace_the_jobs_own_and_others_stay() -> None:
    inside = RememberingSandbox()
    job = SandboxJob("a:b", Path("scratch"), limits=SandboxLimits(memory_bytes=10, wall_s=20.0, cpu_s=30))
    ConfiguredSandbox(inside, memory_bytes=5).run(job)
    ConfiguredSandbox(inside, wall_s=7.0).run(job)
    ConfiguredSandbox(inside).run(job)
    assert [(seen.limits.memory_bytes, seen.limits.wall_s, seen.limits.cpu_s) for seen in inside.jobs] == [
        (5, 20.0, 30),
        (10, 7.0, 30),
        (10, 20.0, 30),
    ]
    assert ConfiguredSandbox(inside).layers() == {"memory": "active"}


def test_they_hold_for_processes_that_stay_too() -> None:
    inside = RememberingSandbox()
    job = SandboxJob("a:b", Path("scratch"), limits=SandboxLimits(memory_bytes=10, wall_s=20.0))
    assert ConfiguredSandbox(inside, memory_bytes=5, wall_s=7.0).start(job) == "resident"
    assert [(seen.limits.memory_bytes, seen.limits.wall_s) for seen in inside.jobs] == [(5, 7.0)]
