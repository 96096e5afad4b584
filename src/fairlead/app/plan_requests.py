"""What the user asked `fairlead plan` for, from flags and fairlead.yaml together: flags win, paths in the file are relative to the file.

Takes the flags as given (None: not given), gives a PlanRequest; raises SpecError and RequirementError.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.plan_model import Load, PlanRequest
from fairlead.app.requests import Flags, build_request, find_spec
from fairlead.app.spec import Spec
from fairlead.core.hardware import Budget
from fairlead.core.strategy import Need, Scenario


@dataclass(frozen=True)
class PlanFlags:
    """The flags that `plan` has beside those of `deploy`; None or empty where not given."""

    train: Path | None = None
    scenario: str | None = None
    need: tuple[str, ...] = ()
    rate: float | None = None
    rows: int | None = None
    p99: float | None = None
    per_month: float | None = None
    catalogue: Path | None = None
    is_measured: bool = True


def build_plan_request(flags: Flags, more: PlanFlags) -> PlanRequest:
    """Return the plan that flags and fairlead.yaml ask for together."""
    spec, folder = find_spec(flags.spec, is_needed=flags.model is None)
    deployment = build_request(replace(flags, name=flags.name or "planned"), command="plan")  # nothing is registered: no name is needed
    return PlanRequest(
        intake=deployment.intake,
        target=deployment.target,
        scenario=Scenario(more.scenario) if more.scenario else spec.scenario,
        needs=tuple(Need(need) for need in more.need) if more.need else tuple(spec.needs),
        load=_load(spec, more),
        budget=_budget(spec, more),
        overrides=spec.strategy.overrides(),
        catalogue=more.catalogue or (folder / spec.catalogue if spec.catalogue else None),
        training=more.train or (folder / spec.train if spec.train else None),
        is_measured=more.is_measured,
    )


def _load(spec: Spec, more: PlanFlags) -> Load:
    """Return the load of the file, with each flag in place of its key."""
    said = spec.load
    load = Load(said.rate_rps, said.rows_per_request, said.p99_ms, said.burst_ratio) if said is not None else Load()
    return Load(
        load.rate_rps if more.rate is None else more.rate,
        load.rows_per_request if more.rows is None else more.rows,
        load.p99_ms if more.p99 is None else more.p99,
        load.burst_ratio,
    )


def _budget(spec: Spec, more: PlanFlags) -> Budget | None:
    said = spec.budget.budget() if spec.budget is not None else None
    if more.per_month is None:
        return said
    return replace(said, per_month=more.per_month) if said is not None else Budget(more.per_month)
