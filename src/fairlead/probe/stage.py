"""Ask a running server from outside: how much it answers (a BenchJob), or whether it keeps to the protocol (a ConformanceJob).

Takes a job; gives its report. Raises what the job's own module says; UnavailableError where nothing answers.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Job(Protocol[R_co]):
    """What can be asked: fairlead.probe.load.bench.BenchJob, fairlead.probe.conformance.run.ConformanceJob."""

    def run(self) -> R_co:
        """Do it and return the report."""
        ...


def probe(job: Job[R]) -> R:
    """Do `job` and return its report."""
    return job.run()
