"""Keep a server's table as the registry wants it: load what is wanted, switch, unload the rest.

Takes a VersionSource that is asked every interval; changes the ModelTable. `plan_model` decides and is pure; `Follower` does it. A
source that raises, a version that does not load, one that answers wrongly, and a load that hangs never touch what serves. Bound: a moved
alias takes effect within one interval plus the time to load and warm the version; at once where it is kept warm for a rollback.
"""

from __future__ import annotations

import asyncio
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fairlead.core.aspired import Aspired, Selection, alone, choose, with_traffic
from fairlead.core.heartbeat import Applied
from fairlead.core.ports import Clock, VersionSource, WatchedSource
from fairlead.core.version import Version
from fairlead.errors import DeadlineError, FairleadError, OverloadedError
from fairlead.serve.applied import applied_of
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.threads import ThreadPool
from fairlead.serve.version_plan import Failure, is_same, next_failure, plan_model

OnApplied = Callable[[int, Mapping[str, Applied]], None]
_Key = tuple[str, int]
_WAIT_SLACK_S = 2.0  # a source that answers later than it said is not waited for


def unheard_applied(sequence: int, applied: Mapping[str, Applied]) -> None:
    """Tell nobody."""
    del sequence, applied


@dataclass(frozen=True)
class Order:
    """What a client asked for: a selection of versions, or none of them. It holds until the default version of the registry's choice moves
    from `default`.
    """

    selection: Selection | None
    default: int


class Follower:
    """`label` is the alias that is followed; `keep_warm_s` is how long the version that answered before stays loaded; `report` takes
    sentences for the log. `on_applied` is told what is in force of each model whenever that changes, with the source's sequence.
    """

    def __init__(
        self,
        source: VersionSource,
        table: ModelTable,
        loader: Loader,
        *,
        label: str,
        report: Callable[[str], None],
        clock: Clock = time.monotonic,
        keep_warm_s: float = 0.0,
        on_applied: OnApplied = unheard_applied,
    ) -> None:
        self._source, self._table, self._loader = source, table, loader
        self._label, self._report, self._clock, self._keep_warm_s = label, report, clock, keep_warm_s
        self._asking, self._waiting = ThreadPool(1, "fairlead-follow"), ThreadPool(1, "fairlead-wait")
        self._on_applied = on_applied
        self._told: tuple[int, Mapping[str, Applied]] = (0, {})
        self._registry: Mapping[str, Aspired] = {}
        self._orders: dict[str, Order] = {}
        self._sequence: int | None = None
        self._loads: dict[_Key, tuple[Version, asyncio.Task[ServedVersion]]] = {}
        self._wakes: dict[_Key, asyncio.Task[None]] = {}
        self._failures: dict[str, dict[int, Failure]] = {}
        self._source_error = ""
        self._is_stopped = False
        self.is_synchronized = False
        table.wake = self.wake

    @property
    def applied_sequence(self) -> int:
        """The source's sequence that was read last and acted upon; `applied` says of which models it is not in force yet."""
        return self._told[0]

    @property
    def applied(self) -> Mapping[str, Applied]:
        """What is in force of each model."""
        return self._told[1]

    @property
    def registry(self) -> Mapping[str, Aspired]:
        """What the registry has and wants, by model; clients' orders are not in it."""
        return self._registry

    def failures(self, name: str) -> Mapping[int, Failure]:
        """Return why versions of a model are not loaded, by number."""
        return self._failures.get(name, {})

    def has_failed(self, name: str) -> bool:
        """Whether a load of the model failed since it last served, or its record cannot be read."""
        registered = self._registry.get(name)
        return bool(self.failures(name)) or (registered is not None and registered.problem is not None)

    def is_unloaded(self, name: str) -> bool:
        """Whether a client unloaded the model."""
        order = self._orders.get(name)
        return order is not None and order.selection is None

    # Following.

    async def follow(self, interval_s: float) -> None:
        """Poll until cancelled: at once where the source tells of a change, and every interval in any case."""
        mistake = ""
        while True:
            try:
                await self.poll()
            except Exception:  # noqa: BLE001 - a mistake of ours must not be the last that is followed; what serves goes on serving
                said, mistake = mistake, traceback.format_exc()
                self._sequence = None  # what was left undone is done anew
                if mistake != said:
                    self._report(f"Following the registry failed; it is tried again.\n{mistake}")
            await self._pause(interval_s)

    async def _pause(self, interval_s: float) -> None:
        """Return after the interval, or as soon as the source tells of a change. One that cannot be read is not waited for."""
        began = time.monotonic()
        if not await self._has_changed(interval_s):
            await asyncio.sleep(max(interval_s - (time.monotonic() - began), 0.0))

    async def _has_changed(self, timeout_s: float) -> bool:
        """Return whether the source told of a change within the time; at once where it does not tell."""
        source, sequence = self._source, self._sequence
        if sequence is None or self._source_error or not isinstance(source, WatchedSource):
            return False
        try:
            async with asyncio.timeout(timeout_s + _WAIT_SLACK_S):
                return await self._waiting.call(partial(source.wait, sequence, timeout_s)) != sequence
        except Exception:  # noqa: BLE001 - whatever a source raises, the next poll finds out
            return False

    async def poll(self) -> None:
        """Ask the source once and start what has to be done; returns without waiting for loads."""
        try:
            sequence = await self._asking.call(self._source.sequence)
            has_changed = sequence != self._sequence
            if has_changed:
                found = await self._asking.call(self._source.aspired)
                self._registry = {name: item if isinstance(item, Aspired) else alone(item, self._label) for name, item in found.items()}
                self._sequence = sequence
        except Exception as error:  # noqa: BLE001 - whatever a source raises, what serves goes on serving
            if not self._source_error:
                self._report(f"The registry cannot be read ({error}); serving what is loaded.")
            self._source_error = str(error) or type(error).__name__
            return
        if self._source_error:
            self._source_error = ""
            self._report("The registry can be read again.")
        for name in {**self._registry, **self._table.models} if has_changed else tuple(self._failures):
            self.act(name)
        self._table.drop_spares(self._clock())
        self.is_synchronized = True
        self._tell_applied()

    async def settle(self, name: str = "") -> None:
        """Wait until no load is under way, of that model or of any."""
        while tasks := [task for (model, _), (_, task) in self._loads.items() if name in {"", model}]:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Abandon loads; what they still load is closed by their threads' end."""
        self._is_stopped = True
        tasks: list[asyncio.Task[Any]] = [*(task for _, task in self._loads.values()), *self._wakes.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._asking.close()
        self._waiting.close()

    def order(self, name: str, selection: Selection | None, *, is_load: bool) -> None:
        """Let a client decide what is served of a model: what the registry wants, a selection, or nothing. See Order for how long."""
        default = self._registry[name].default
        self._orders.pop(name, None)
        if not is_load or selection is not None:
            self._orders[name] = Order(selection if is_load else None, default)
        self._failures.pop(name, None)  # who asks wants it tried now
        self.act(name)
        self._tell_applied()

    def aspired(self, name: str) -> Aspired:
        """Return what is wanted of a model, clients' orders included."""
        wanted = self._registry.get(name, Aspired(name))
        order = self._orders.get(name)
        if order is None:
            return wanted
        if order.default != wanted.default:
            del self._orders[name]
            return wanted
        if order.selection is None:
            return replace(wanted, versions=(), default=0)
        ordered = choose(name, order.selection, wanted.known, wanted.aliases, followed=self._label)
        return ordered if wanted.traffic is None else with_traffic(ordered, wanted.traffic)  # what a release needs stays

    def act(self, name: str) -> None:
        """Do what has to be done about one model."""
        aspired = self.aspired(name)
        if aspired.problem is not None:
            self._keep(aspired, aspired.problem)
            return
        wanted = {version.number: version for version in aspired.versions}
        for (model, number), (version, task) in tuple(self._loads.items()):
            if model == name and not is_same(wanted.get(number), version):
                task.cancel()
        if not wanted:
            self._drop(name)
            return
        for version in aspired.versions:
            if not is_same(self._table.standing(name).versions.get(version.number), version):
                spare = self._table.take_spare(version)
                if spare is not None:
                    self._enter(spare)
        failures = {number: failure for number, failure in self.failures(name).items() if number in wanted}
        self._failures.pop(name, None)
        if failures:
            self._failures[name] = failures
        self._follow_plan(aspired)
        self._table.settle(name, wanted)

    def _follow_plan(self, aspired: Aspired) -> None:
        name = aspired.name
        loading = [version for (model, _), (version, _) in self._loads.items() if model == name]
        plan = plan_model(aspired, self._table.standing(name), loading, self.failures(name), self._clock())
        self._table.arrange(name, plan, spare_until=self._clock() + self._keep_warm_s if self._keep_warm_s else 0.0)
        for version in plan.load:
            self._table.begin_load(version)
            task = asyncio.get_running_loop().create_task(self._loader.load(version, is_new=True))
            self._loads[name, version.number] = (version, task)
            task.add_done_callback(partial(self._loaded, version))

    def _drop(self, name: str) -> None:
        self._failures.pop(name, None)
        if name in self._table.models:
            self._table.remove(name)
            self._report(f"{name} is no longer served.")

    def _keep(self, aspired: Aspired, problem: FairleadError) -> None:
        """The registry cannot say what is wanted of this model: what serves goes on, and where nothing does, that is said."""
        number = aspired.aliases.get(self._label, 0)
        if not self._table.is_ready(aspired.name) and number not in self.failures(aspired.name):
            self._table.fail(aspired.name, number, problem)

    # Loading.

    def _loaded(self, version: Version, task: asyncio.Task[ServedVersion]) -> None:
        """A load has ended: with a version, an error, or because nobody wants it any more."""
        del self._loads[version.name, version.number]
        if self._is_stopped:
            _close_result(task)
            return
        error = None if task.cancelled() else task.exception()
        if isinstance(error, FairleadError):
            self._fail(version, error)
        elif not task.cancelled():
            self._enter(task.result())
        self.act(version.name)
        self._tell_applied()

    def _enter(self, served: ServedVersion) -> None:
        version = served.version
        failures = self._failures.get(version.name, {})
        failures.pop(version.number, None)
        self._table.enter(served)
        self._report(f"{version.label} is served.")

    def _fail(self, version: Version, error: FairleadError) -> None:
        failures = self._failures.setdefault(version.name, {})
        failure = failures[version.number] = next_failure(version, error, failures.get(version.number), self._clock())
        self._table.fail_load(version, error)
        still = "What serves goes on serving" if self._table.is_ready(version.name) else "Nothing serves in its place"
        if failure.count == 1:
            self._report(f"{version.label} cannot be served ({error.code}): {error} {still}.")

    # Waking.

    async def wake(self, served: ServedVersion, deadline: float) -> None:
        """Return when `served`, which sleeps, is in memory again; one load for all who wait. `deadline` is monotonic seconds.

        Raises DeadlineError, OverloadedError where busy versions hold the memory, and what loading raises.
        """
        key = (served.version.name, served.version.number)
        task = self._wakes.get(key)
        if task is None:
            task = self._wakes[key] = asyncio.get_running_loop().create_task(self._wake(served))
            task.add_done_callback(partial(self._woken, key))
        timeout_s = None if deadline == math.inf else max(deadline - self._clock(), 0.0)
        await asyncio.wait((task,), timeout=timeout_s)
        if not task.done():
            raise DeadlineError(f"{served.version.label} was not in memory and could not be loaded in time.", hint="Ask again.")
        task.result()

    async def _wake(self, served: ServedVersion) -> None:
        try:
            fresh = await self._loader.load(served.version, is_new=False)
        except OverloadedError:
            raise
        except FairleadError as error:
            self._table.expel(served, error)
            self._fail(served.version, error)
            raise
        if served.is_retired and served.in_flight == 0:
            fresh.close()
        else:
            served.rouse(fresh)

    def _woken(self, key: _Key, task: asyncio.Task[None]) -> None:
        del self._wakes[key]
        if not task.cancelled():
            task.exception()  # those who waited may all have gone

    def _tell_applied(self) -> None:
        """Tell what is in force, where that has changed."""
        if self._sequence is None:
            return
        names = {**self._registry, **self._table.models}
        applied = {name: applied_of(self.aspired(name), self._table.standing(name), self.failures(name)) for name in names}
        if (self._sequence, applied) != self._told:
            self._told = (self._sequence, applied)
            self._on_applied(self._sequence, applied)


def _close_result(task: asyncio.Task[ServedVersion]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
