"""Keep a server's table as the registry wants it: load what aliases point at, switch, unload the rest.

Takes a VersionSource that is asked every interval; changes the ModelTable. `plan_actions` decides and is pure; `Follower` does it. A
source that raises, a version that does not load, one that answers wrongly, and a load that hangs never touch what serves. Bound: a moved
alias takes effect within one interval plus the time to load and warm the version.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairlead.core.ports import Clock, VersionSource
from fairlead.core.version import Version
from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.assembly import Assemble
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.threads import ThreadPool
from fairlead.serve.warm_up import warm_up

_RETRY_S = 5.0  # a failed load is tried again after this, doubled each time
_RETRY_LIMIT_S = 300.0
_LOADER_COUNT = 4  # a load that hangs holds one of them


@dataclass(frozen=True)
class Failure:
    """A version that did not load: how often, and when (monotonic seconds) to try again."""

    version: Version
    count: int
    retry_at: float


@dataclass(frozen=True)
class Actions:
    """Versions to load, names to unload, and names where what serves is what is wanted."""

    load: tuple[Version, ...] = ()
    unload: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()


def plan_actions(
    aspired: Mapping[str, Version],
    serving: Mapping[str, Version],
    loading: Mapping[str, Version],
    failures: Mapping[str, Failure],
    now: float,
) -> Actions:
    """Compare what is wanted with what is there. Pure: `now` is monotonic seconds."""
    load, settled = [], []
    for name, version in aspired.items():
        failure = failures.get(name)
        if _is_same(serving.get(name), version):
            settled.append(name)
        elif name in loading or (failure is not None and _is_same(failure.version, version) and now < failure.retry_at):
            continue
        else:
            load.append(version)
    unload = tuple(name for name in {**serving, **failures} if name not in aspired)
    return Actions(tuple(load), unload, tuple(settled))


def next_failure(version: Version, previous: Failure | None, now: float) -> Failure:
    """Return when to try `version` again: later each time."""
    count = previous.count + 1 if previous is not None and _is_same(previous.version, version) else 1
    return Failure(version, count, now + min(_RETRY_S * 2 ** (count - 1), _RETRY_LIMIT_S))


def _is_same(one: Version | None, other: Version) -> bool:
    return one is not None and one.number == other.number and one.manifest == other.manifest


class Follower:
    """`label` is the alias that is followed; `report` takes sentences for the log."""

    def __init__(
        self,
        source: VersionSource,
        table: ModelTable,
        assemble: Assemble,
        *,
        label: str,
        report: Callable[[str], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._source, self._table, self._assemble = source, table, assemble
        self._label, self._report, self._clock = label, report, clock
        self._asking = ThreadPool(1, "fairlead-follow")
        self._loaders = ThreadPool(_LOADER_COUNT, "fairlead-load")
        self._aspired: Mapping[str, Version] = {}
        self._sequence: int | None = None
        self._loads: dict[str, tuple[Version, asyncio.Task[None]]] = {}
        self._failures: dict[str, Failure] = {}
        self._source_error = ""
        self.is_synchronized = False

    async def follow(self, interval_s: float) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(interval_s)

    async def poll(self) -> None:
        """Ask the source once and start what has to be done; returns without waiting for loads."""
        try:
            sequence = await self._asking.call(self._source.sequence)
            if sequence != self._sequence:
                self._aspired = dict(await self._asking.call(self._source.aspired))
                self._sequence = sequence
        except Exception as error:  # noqa: BLE001 - whatever a source raises, what serves goes on serving
            self._report_source(f"The registry cannot be read ({error}); serving what is loaded.")
            return
        self._report_source("")
        self._act()
        self.is_synchronized = True

    async def settle(self) -> None:
        """Wait until no load is under way."""
        while self._loads:
            await asyncio.wait([task for _, task in self._loads.values()])

    async def stop(self) -> None:
        """Abandon loads; what they still load is closed by their threads' end."""
        for _, task in tuple(self._loads.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._asking.close()
        self._loaders.close()

    def _act(self) -> None:
        serving = {name: model.versions[model.default].version for name, model in self._table.models.items() if model.versions}
        loading = {name: version for name, (version, _) in self._loads.items()}
        actions = plan_actions(self._aspired, serving, loading, self._failures, self._clock())
        for name in actions.unload:
            self._failures.pop(name, None)
            self._table.remove(name)
            self._report(f"{name} is no longer served.")
        for name in actions.settled:
            self._failures.pop(name, None)
            if name not in loading:
                self._table.settle(name)
        for version in actions.load:
            self._table.begin_load(version)
            self._loads[version.name] = (version, asyncio.get_running_loop().create_task(self._load(version)))

    async def _load(self, version: Version) -> None:
        try:
            served = await self._loaders.call(lambda: warm_up(version, self._source.load(version), self._assemble))
        except FairleadError as error:
            self._fail(version, error)
        except Exception as error:  # noqa: BLE001 - a broken version must not take down the ones that serve
            self._fail(version, UnavailableError(f"{version.label} cannot be loaded: {type(error).__name__}."))
        else:
            self._switch(served)
        finally:
            del self._loads[version.name]

    def _switch(self, served: ServedVersion) -> None:
        version = served.version
        wanted = self._aspired.get(version.name)
        if not _is_same(wanted, version):  # the alias moved on while this version was loading
            served.close()
            if wanted is None and not self._table.is_ready(version.name):
                self._table.remove(version.name)
            return
        self._failures.pop(version.name, None)
        self._table.switch(served, self._label)
        self._report(f"{version.label} is served.")

    def _fail(self, version: Version, error: FairleadError) -> None:
        failure = next_failure(version, self._failures.get(version.name), self._clock())
        self._failures[version.name] = failure
        self._table.fail_load(version, error)
        still = "the version before goes on serving" if self._table.is_ready(version.name) else "nothing serves in its place"
        if failure.count == 1:
            self._report(f"{version.label} cannot be served ({error.code}): {error} {still[0].upper()}{still[1:]}.")

    def _report_source(self, sentence: str) -> None:
        if sentence and sentence != self._source_error:
            self._report(sentence)
        self._source_error = sentence
