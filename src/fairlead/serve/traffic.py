"""Divides the requests of all models of a server: keeps each one's split as its plan and what is loaded say, and what that needs in memory.

Takes a model table, which asks it whenever a plan or what is loaded changes; gives Splits. Raises nothing. It decides nothing about a
request: `core/traffic.py` does, and `Split` finds the loaded version.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from fairlead.core.ports import TrafficWitness
from fairlead.core.traffic import LIVE, Arm, TrafficPlan
from fairlead.core.traffic_event import Gap, Missed
from fairlead.errors import FairleadError
from fairlead.serve.model_table import ModelTable, ServedModel, ServedVersion
from fairlead.serve.traffic_mirror import Mirror
from fairlead.serve.traffic_split import Split

_SAID = {
    Gap.LOADING: "is loading",
    Gap.ASLEEP: "is being loaded again",
    Gap.FAILED: "cannot answer",
    Gap.MISFIT: "takes or gives something else than the version that answers by default",
}


class Traffic:
    """`label` is the alias whose requests are divided, as those that name nothing are. `twin_share` of all requests also runs on the
    uncompressed original of the version that answered, where it has one and no release says otherwise; `report` takes sentences.
    """

    def __init__(
        self,
        table: ModelTable,
        witness: TrafficWitness,
        mirror: Mirror,
        *,
        label: str,
        report: Callable[[str], None],
        twin_share: float = 0.0,
    ) -> None:
        self.label = label
        self.witness, self.mirror, self.twin_share = witness, mirror, twin_share
        self._table, self.report = table, report
        self._said: set[tuple[object, ...]] = set()
        self._rousing: dict[ServedVersion, asyncio.Task[None]] = {}
        table.divide = self.divide

    def divide(self, model: ServedModel) -> Split | None:
        """Return what divides the model's requests now; None where all go to the default version and nothing is compared."""
        before, plan = model.split, model.traffic or self._watched(model)
        needed = frozenset() if plan is None else plan.versions
        is_watched = plan is not None and (plan.twin_share > 0.0 or self.twin_share > 0.0)
        for number, served in model.versions.items():
            served.is_kept = number in needed and model.traffic is not None
            if served.twin is not None and not (is_watched and number in needed):
                served.memory_bytes -= served.twin.rest()
        former = "" if before is None else before.plan.release
        if former and (plan is None or plan.release != former):
            self.witness.ended(model.name)
            self._said = {item for item in self._said if item[0] != model.name}
        return None if plan is None else Split(plan, model, self)

    def _watched(self, model: ServedModel) -> TrafficPlan | None:
        """Return the plan for comparing a version with its original while no release runs."""
        served = model.versions.get(model.default)
        if not self.twin_share or served is None or served.twin is None:
            return None
        return TrafficPlan("", 0, (Arm(LIVE, model.default, 1.0),), twin_share=self.twin_share, salt=model.name)

    def missed(self, missed: Missed) -> None:
        """Count a request that its arm could not answer, or that could not be compared, and say so for the first of its kind."""
        self.witness.missed(missed)
        key = (missed.model, missed.release, missed.arm, missed.version, missed.gap, missed.kind)
        if key not in self._said:
            self._said.add(key)
            who = f"{missed.model}:{missed.version} {_SAID.get(missed.gap, 'cannot answer')}"
            what = f"requests for arm '{missed.arm}' go to the live version" if missed.kind is None else "it is shown no requests"
            self.report(f"{who}; {what} meanwhile.")

    def rouse(self, served: ServedVersion) -> None:
        """Have a version that sleeps loaded again; returns at once."""
        if served not in self._rousing:
            task = self._rousing[served] = asyncio.get_running_loop().create_task(self._rouse(served))
            task.add_done_callback(lambda _: self._rousing.pop(served))

    async def _rouse(self, served: ServedVersion) -> None:
        try:
            await self._table.wake(served, math.inf)
        except FairleadError as error:
            self.report(f"{served.version.label} cannot be loaded again ({error.code}): {error}")

    async def stop(self) -> None:
        """Return when nothing is compared or loaded any more."""
        for task in self._rousing.values():
            task.cancel()
        await self.mirror.stop()
