"""What a server has of a model, against what is wanted of it: pure, for whoever waits until a change is in force.

Takes an Aspired, the table's Standing and failures; gives an Applied. Law: a model without a problem answers new requests as the registry
wanted when it was read: by the wanted default version, and by the wanted split between versions that are all loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.core.aspired import Aspired
from fairlead.core.heartbeat import Applied
from fairlead.serve.version_plan import Failure, Standing, is_same


def applied_of(aspired: Aspired, standing: Standing, failures: Mapping[int, Failure]) -> Applied:
    """Return what is in force of `aspired`, and what is not there yet."""
    problem, has_failed = _problem(aspired, standing, failures)
    plan = standing.traffic
    return Applied(
        standing.default,
        tuple(sorted(standing.versions)),
        "" if plan is None else plan.release,
        0 if plan is None else plan.step,
        problem,
        has_failed,
    )


def _problem(aspired: Aspired, standing: Standing, failures: Mapping[int, Failure]) -> tuple[str, bool]:
    """Return what is not in force, and whether it cannot be for the time being; "" where everything is."""
    if aspired.problem is not None:
        return aspired.problem.message, True
    wanted = {version.number: version for version in aspired.versions}
    default = {aspired.default} if aspired.default else frozenset()
    needed = default | (aspired.traffic.versions if aspired.traffic is not None else frozenset())
    for number in sorted(needed):
        version, failure = wanted.get(number), failures.get(number)
        if version is None:
            return f"{aspired.name}:{number} is not registered.", True
        if not is_same(standing.versions.get(number), version):
            if failure is not None and failure.error is not None:
                return f"{version.label} could not be loaded ({failure.error.code}): {failure.error.message}", True
            return f"{version.label} is loading.", False
    if (standing.default, standing.traffic) != (aspired.default, aspired.traffic):
        return f"{aspired.name} has not been switched yet.", False
    return "", False
