"""What was said about how a model is led into production: scenario, needs, load, and values of the user's own, from flags or fairlead.yaml.

Gives the StrategyJob of a promise. Raises SpecError for a preset that makes no sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.app.presets import preset_of
from fairlead.core.requirement import Requirement
from fairlead.core.strategy import Need, Scenario, Strategy, Value
from fairlead.plan.strategy import StrategyJob, decide_strategy


@dataclass(frozen=True)
class StrategyWish:
    """`overrides` are strategy values by key; `rate_rps` is the whole load, 0 where it is not known."""

    scenario: Scenario | None = None
    needs: tuple[Need, ...] = ()
    rate_rps: float = 0.0
    overrides: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_stated(self) -> bool:
        """Whether anything was said: a strategy is kept with the version then."""
        return bool(self.scenario or self.needs or self.rate_rps or self.overrides)

    def job(self, requirements: tuple[Requirement, ...]) -> StrategyJob:
        """Return what a strategy for that promise is made of, as far as it is known before anything was measured."""
        preset = preset_of(self.scenario) if self.scenario else None
        allows_loss = any(item.is_loss_bound for item in requirements)
        return StrategyJob(preset, self.needs, requirements, None, self.rate_rps, self.overrides, allows_loss)

    def decide(self, requirements: tuple[Requirement, ...]) -> Strategy | None:
        """Return the strategy for that promise; None where nothing was said."""
        return decide_strategy(self.job(requirements)) if self.is_stated else None
