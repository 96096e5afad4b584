"""Bring one version into memory: make room for it, open it, ask it its golden requests, and see what it takes.

Takes Versions; gives ServedVersions that nobody has asked yet. Raises what the source and the engine raise, UnavailableError where a load
takes too long or does not fit into the memory budget, OverloadedError where it would fit if others were not busy. A load that is cancelled
or late ends in its thread, and what it opened is closed there. It never unloads what serves the same model.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fairlead.core.conversion import TWIN_FILE
from fairlead.core.manifest import readable_size
from fairlead.core.ports import Engine, VersionSource
from fairlead.core.version import Version
from fairlead.errors import FairleadError, OverloadedError, UnavailableError
from fairlead.serve.assembly import Assemble
from fairlead.serve.memory_budget import Resident, choose_victims
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.resident_memory import give_back, resident_bytes
from fairlead.serve.warm_up import warm_up

T = TypeVar("T")
_PATIENCE_S = 5.0  # how long a load waits for versions that are busy to become idle
_LOOK_S = 0.02
_LOAD_COUNT = 4  # loads at once; one that hangs holds one of them until its time is over
_TURN_S = 2.0  # under a memory budget loads take turns, so that each can be measured; a load that takes longer is not waited for
_USUAL_FACTOR = 2  # ONNX Runtime holds weights as read and as it computes with them
_MEMORY_COUNT = 5
_HINT = "Raise the memory budget (--memory, FAIRLEAD_MEMORY_BUDGET_BYTES), or serve less."


class _LateError(Exception):
    """A load took too long."""


class Loader:
    """`budget_bytes` bounds what all loaded versions take together (0: nothing does), `timeout_s` how long one load may take."""

    def __init__(
        self,
        source: VersionSource,
        table: ModelTable,
        assemble: Assemble,
        *,
        budget_bytes: int = 0,
        timeout_s: float = 600.0,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._source, self._table, self._assemble = source, table, assemble
        self._budget_bytes, self._timeout_s, self._patience_s = budget_bytes, timeout_s, patience_s
        self._promised_bytes = 0
        self._grown_bytes: dict[str, deque[int]] = {}  # digest -> what its last loads let the process grow by
        self._running: list[list[bool]] = []  # one flag per load under way: whether it is alone so far
        self._places = asyncio.Semaphore(_LOAD_COUNT)
        self._runtimes: set[str] = set()

    @property
    def held_bytes(self) -> int:
        """What is in memory, and what loads under way are expected to take."""
        return self._promised_bytes + sum(served.memory_bytes for served, _ in self._table.in_memory())

    async def load(self, version: Version, *, is_new: bool) -> ServedVersion:
        """Return `version` loaded and warm. `is_new`: it comes beside what serves of its model, which must not give way for it."""
        async with self._places:
            return await self._load(version, version.name if is_new else "")

    async def _load(self, version: Version, protected: str) -> ServedVersion:
        await self._turn()
        need_bytes = self._needed_bytes(version, _opened_bytes(version))
        if need_bytes > self._budget_bytes:  # only another load can tell whether that was measured rightly
            need_bytes = _opened_bytes(version)
        await self._make_room(version, need_bytes, protected)
        self._promised_bytes += need_bytes
        is_alone = [not self._running]
        for other in self._running:
            other[0] = False
        self._running.append(is_alone)
        try:
            served = await self._in_time(partial(self._open, version, is_alone), version.label, discard=ServedVersion.close)
        finally:
            self._promised_bytes -= need_bytes
            self._running.remove(is_alone)
        try:
            await self._make_room(version, served.memory_bytes, protected)
        except BaseException:
            served.close()
            raise
        return served

    async def _turn(self) -> None:
        """Wait for loads that are under way, as long as that makes sense."""
        for _ in range(int(_TURN_S / _LOOK_S) if self._budget_bytes else 0):
            if not self._running:
                return
            await asyncio.sleep(_LOOK_S)

    def _needed_bytes(self, version: Version, otherwise_bytes: int) -> int:
        """Return what the version took when it was loaded before, else that; at least its largest file."""
        grown_bytes = self._grown_bytes.get(version.digest)
        largest_bytes = max((entry.size_bytes for entry in version.manifest.files if entry.name != TWIN_FILE), default=0)
        return max(round(statistics.median(grown_bytes)) if grown_bytes else otherwise_bytes, largest_bytes)

    def _open(self, version: Version, is_alone: list[bool]) -> ServedVersion:
        give_back()  # what was freed before must not be counted as there
        before = resident_bytes()
        loaded = self._source.load(version)
        try:
            served = warm_up(version, loaded, self._assemble)
        except BaseException:
            if loaded.release is not None:
                loaded.release()
            raise
        served.release = loaded.release
        give_back()  # what loading needed only while it ran
        # Resident memory belongs to the whole process: while two load, nobody can tell who took what, and a library comes with the first of
        # its versions and stays. What others do at that moment disturbs it, so the median of several loads counts.
        grown_bytes = resident_bytes() - before + served.executor.memory_bytes
        runtime = served.executor.description
        if is_alone[0] and runtime in self._runtimes:
            self._grown_bytes.setdefault(version.digest, deque(maxlen=_MEMORY_COUNT)).append(grown_bytes)
        self._runtimes.add(runtime)
        at_most_bytes = _USUAL_FACTOR * _opened_bytes(version) + served.executor.memory_bytes
        served.memory_bytes = self._needed_bytes(version, min(grown_bytes, at_most_bytes))
        return served

    async def open_twin(self, served: ServedVersion) -> None:
        """Open the original of `served` beside it; its memory counts with the version's. Raises as `load` does."""
        twin = served.twin
        if twin is None or twin.is_open:
            return
        need_bytes = _USUAL_FACTOR * twin.size_bytes
        async with self._places:
            await self._make_room(served.version, need_bytes, served.version.name)
            self._promised_bytes += need_bytes
            try:
                engine = await self._in_time(twin.open_it, f"The original of {served.version.label}", discard=_close)
            finally:
                self._promised_bytes -= need_bytes
        if twin.take(engine, need_bytes):
            served.memory_bytes += need_bytes

    async def _in_time(self, function: Callable[[], T], what: str, *, discard: Callable[[T], None]) -> T:
        """Return what `function` makes in a thread of its own; raises UnavailableError where it takes too long or fails."""
        try:
            return await _in_thread(function, self._timeout_s, discard=discard)
        except _LateError:
            raise UnavailableError(f"{what} was not loaded within {self._timeout_s:g} s.") from None
        except FairleadError:
            raise
        except Exception as error:
            raise UnavailableError(f"{what} cannot be loaded: {type(error).__name__}.") from error

    async def _make_room(self, version: Version, need_bytes: int, protected: str) -> None:
        """Put others to sleep until `need_bytes` fit; waits a little for those that are busy."""
        for _ in range(int(self._patience_s / _LOOK_S)):
            victims = self._victims(need_bytes, protected)
            if victims is not None:
                for victim in victims:
                    self._table.give_way(victim)
                return
            if not self._would_fit_if_idle(need_bytes, protected):
                break
            await asyncio.sleep(_LOOK_S)
        else:
            raise OverloadedError(f"{version.label} waits for memory that others use.", hint="Ask again later.")
        budget = readable_size(self._budget_bytes)
        raise UnavailableError(
            f"{version.label} needs {readable_size(need_bytes)}, which does not fit into the memory budget of {budget}.", hint=_HINT
        )

    def _victims(self, need_bytes: int, protected: str, *, is_idle: bool = False) -> tuple[Resident, ...] | None:
        residents = [
            Resident(
                served.version.name,
                served.version.number,
                served.memory_bytes,
                served.last_used,
                is_busy=served.in_flight > 0 and not is_idle,
                is_protected=not is_spare and (served.is_kept or served.version.name == protected),
                is_spare=is_spare,
            )
            for served, is_spare in self._table.in_memory()
            if not served.is_retired or is_idle
        ]
        held_bytes = self.held_bytes if not is_idle else self.held_bytes - self._promised_bytes
        return choose_victims(residents, held_bytes=held_bytes, need_bytes=need_bytes, budget_bytes=self._budget_bytes)

    def _would_fit_if_idle(self, need_bytes: int, protected: str) -> bool:
        return self._victims(need_bytes, protected, is_idle=True) is not None


def _opened_bytes(version: Version) -> int:
    """Return the size of the files that are opened to serve; the original is opened apart, if at all."""
    return version.manifest.size_bytes - sum(entry.size_bytes for entry in version.manifest.files if entry.name == TWIN_FILE)


def _close(engine: Engine) -> None:
    engine.close()


async def _in_thread(function: Callable[[], T], timeout_s: float, *, discard: Callable[[T], None]) -> T:
    """Return what `function` returns, called in a thread of its own; raises _LateError. What nobody waits for any more is discarded."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        outcome: T
        try:
            outcome = function()
        except BaseException as error:  # noqa: BLE001 - whatever a load raised belongs to the one who awaits it
            _tell(loop, partial(_fail, future, error))
        else:
            if not _tell(loop, partial(_deliver, future, outcome, discard)):
                discard(outcome)

    threading.Thread(target=work, name="fairlead-load", daemon=True).start()
    try:
        await asyncio.wait((future,), timeout=timeout_s)
    except asyncio.CancelledError:
        if not future.cancel() and future.exception() is None:
            discard(future.result())
        raise
    if future.cancel():
        raise _LateError
    return future.result()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    """Have the loop make `call`; False where the loop was closed meanwhile."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return True


def _deliver(future: asyncio.Future[T], outcome: T, discard: Callable[[T], None]) -> None:
    if future.done():
        discard(outcome)
    else:
        future.set_result(outcome)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        # A future takes any exception but this one, and the load would wait for ever.
        future.set_exception(RuntimeError("a generator ended") if isinstance(error, StopIteration) else error)
