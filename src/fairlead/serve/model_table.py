"""Which versions a server has loaded, and the atomic switch from one to the next.

Takes warmed versions; gives the one that a request goes to. Raises NotFoundError for what was never there, UnavailableError for what is
loading or failed. Law: a version leaves the table in the same step in which the next one enters it, and it is closed only when
its last request has been answered. The table is touched by one thread only, the event loop's; it never loads and never waits.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairlead.core.interface import Interface, Tensors, shorten
from fairlead.core.traffic import TrafficPlan
from fairlead.core.version import Version
from fairlead.errors import FairleadError, NotFoundError, UnavailableError
from fairlead.serve.absence import pinned, why_absent
from fairlead.serve.executor import Executor
from fairlead.serve.memory_budget import Resident
from fairlead.serve.scheduler import Scheduler
from fairlead.serve.traffic_pins import Pin
from fairlead.serve.twin import Twin
from fairlead.serve.version_plan import Plan, Standing, is_same

if TYPE_CHECKING:
    from fairlead.serve.traffic_split import Split


class State(enum.StrEnum):
    """The life of a version in a server, named as the repository extension of the V2 protocol names it."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"  # takes no new request, answers those that it has begun
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class VersionState:
    """What a server says about one version; `code` and `reason` are those of the error that keeps it from serving."""

    name: str
    number: int
    state: State
    code: str = ""
    reason: str = ""

    @property
    def is_loading(self) -> bool:
        """Whether it will serve in a moment, if all goes well."""
        return self.state is State.LOADING


@dataclass(slots=True, eq=False)
class ServedVersion:
    """A loaded version: what runs it, and who decides what runs when. `in_flight` counts the requests that it still has to answer.

    `is_deterministic` is what its verdict says: only then may answers be kept. `memory_bytes` is what it takes, as far as is known. One
    that `is_asleep` was unloaded because others needed the memory; it has to be woken before it is asked. `last_used` only orders.
    `example` is the first of its golden requests, for documents that show how to ask; empty where there are none. One that `is_kept` never
    sleeps: a release runs on it. `twin` is its uncompressed original, where it has one.
    """

    version: Version
    executor: Executor
    scheduler: Scheduler
    is_deterministic: bool = False
    memory_bytes: int = 0
    in_flight: int = 0
    is_retired: bool = False
    is_asleep: bool = False
    last_used: int = 0
    is_kept: bool = False
    release: Callable[[], None] | None = None
    example: Tensors = field(default_factory=dict, repr=False)
    twin: Twin | None = None
    interface: Interface = field(init=False)  # kept: it is asked for with every request, and while the version sleeps

    def __post_init__(self) -> None:
        self.interface = self.executor.interface

    @property
    def backend(self) -> str:
        """The name of what runs it."""
        return self.executor.description.partition(" ")[0]

    @property
    def platform(self) -> str:
        """What runs it, as the V2 protocol says: ONNX Runtime with its format, the others by their name alone."""
        return "onnxruntime_onnx" if self.backend == "onnxruntime" else self.backend

    def check_ready(self) -> None:
        """Raise UnavailableError where a request would find nobody who runs it: its processes are being replaced, or were given up."""
        if not self.is_ready:
            raise UnavailableError(f"No process of {self.version.label} is alive at the moment.", hint="Ask again in a moment.")

    @property
    def is_ready(self) -> bool:
        """Whether there is who runs it, or it can be woken."""
        return self.is_asleep or self.executor.slot_count > 0

    def sleep(self) -> None:
        """Give memory, threads and processes back; the interface stays known."""
        self.is_asleep, self.memory_bytes = True, 0
        self.scheduler.close()
        if self.twin is not None:
            self.twin.close()

    def rouse(self, fresh: ServedVersion) -> None:
        """Go on with what `fresh`, the same version loaded again, has."""
        self.executor, self.scheduler, self.memory_bytes, self.twin = fresh.executor, fresh.scheduler, fresh.memory_bytes, fresh.twin
        self.is_asleep = False
        self.release, former = fresh.release, self.release
        if former is not None:
            former()

    def close(self) -> None:
        """Give memory, threads, processes and files back."""
        self.scheduler.close()
        if self.twin is not None:
            self.twin.close()
        release, self.release = self.release, None
        if release is not None:
            release()


@dataclass(slots=True)
class ServedModel:
    """One model: its loaded versions by number, the one that answers by default, and how many requests are admitted now.

    `absent` says of versions without an entry that they load or why they could not; `spare` is the version that answered before, kept
    loaded for a rollback until `spare_until` (monotonic seconds). `traffic` is the plan of the release that runs, and `split` divides
    requests by it; None where every request goes to the default.
    """

    name: str
    versions: dict[int, ServedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    default: int = 0
    admitted: int = 0
    absent: dict[int, VersionState] = field(default_factory=dict)
    spare: ServedVersion | None = None
    spare_until: float = 0.0
    traffic: TrafficPlan | None = None
    split: Split | None = None


Wake = Callable[[ServedVersion, float], Awaitable[None]]


async def _nobody_wakes(served: ServedVersion, _: float) -> None:
    raise UnavailableError(f"{served.version.label} is not in memory.")


def _nothing() -> None:
    """Do nothing."""


def _undivided(_: ServedModel) -> None:
    """Divide nothing."""


class ModelTable:
    """`models` is every model by name. `dispose` is called with each version that nobody needs any more; `wake` loads one that sleeps
    again, by a deadline.
    """

    def __init__(self, dispose: Callable[[ServedVersion], None] = ServedVersion.close) -> None:
        self._models: dict[str, ServedModel] = {}
        self.models: Mapping[str, ServedModel] = self._models  # a property would take time with every request
        self._draining: list[ServedVersion] = []
        self._dispose = dispose
        self._use_count = 0
        self.wake: Wake = _nobody_wakes
        self.on_freed: Callable[[], None] = _nothing  # called in the event loop when memory was freed
        self.divide: Callable[[ServedModel], Split | None] = _undivided  # gives the split by a model's plan and what is loaded of it

    def states(self) -> tuple[VersionState, ...]:
        """Return the state of every version that is loaded, loading, unloading or failed to load; by name, then number."""
        found = {(item.version.name, item.version.number): _state(item, State.UNLOADING) for item in self._draining}
        for name, model in self._models.items():
            found |= {(name, number): state for number, state in model.absent.items()}
            found |= {(name, number): _state(served, State.READY) for number, served in model.versions.items()}
        return tuple(found[key] for key in sorted(found))

    def is_ready(self, name: str, number: int | None = None) -> bool:
        """Whether a request for that model (and version) would be answered: it is loaded and has who runs it, or it can be woken."""
        model = self._models.get(name)
        served = None if model is None else model.versions.get(model.default if number is None else number)
        return served is not None and served.is_ready

    def resolve(self, name: str, number: int | None = None, label: str = "", pin: Pin | None = None) -> ServedVersion:
        """Return the version that a request goes to: by number, by label (an alias), by what its head says, or the default one."""
        model = self._models.get(name)
        if model is None:
            raise NotFoundError(f"There is no model '{shorten(name)}' here.", hint=self._known())
        if label:
            number = model.labels.get(label)
            if number is None:
                hint = f"Labels: {', '.join(model.labels) or 'none'}."
                raise NotFoundError(f"Model '{name}' has no label '{shorten(label)}' here.", hint=hint)
        if pin is not None:
            number = pinned(model, number, pin)
        served = model.versions.get(model.default if number is None else number)
        if served is None:
            raise why_absent(model, number)
        return served

    def _known(self) -> str:
        names = sorted(self._models)
        return f"Here are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}." if names else "Nothing is served here yet."

    # What is there, for those who decide.

    def standing(self, name: str) -> Standing:
        """Return what is loaded of a model and what answers."""
        model = self._models.get(name)
        if model is None:
            return Standing()
        loaded = {number: served.version for number, served in model.versions.items()}
        return Standing(loaded, model.default, model.labels, model.traffic)

    def in_memory(self) -> Iterator[tuple[ServedVersion, bool]]:
        """Yield every version that takes memory, and whether it is a spare."""
        yield from ((served, False) for served in self._draining if not served.is_asleep)
        for model in self._models.values():
            yield from ((served, False) for served in model.versions.values() if not served.is_asleep)
            if model.spare is not None:
                yield model.spare, True

    # Changes.

    def begin_load(self, version: Version) -> None:
        """Say that `version` is being loaded; what serves goes on serving."""
        self._note(VersionState(version.name, version.number, State.LOADING))

    def fail_load(self, version: Version, error: FairleadError) -> None:
        """Say why `version` does not serve; what serves goes on serving."""
        self.fail(version.name, version.number, error)

    def fail(self, name: str, number: int, error: FairleadError) -> None:
        """Say why a version that is not loaded does not serve; without the hint, which may name a path and is for who runs the server."""
        self._note(VersionState(name, number, State.UNAVAILABLE, error.code, error.message))

    def _note(self, state: VersionState) -> None:
        self._models.setdefault(state.name, ServedModel(state.name)).absent[state.number] = state

    def settle(self, name: str, wanted: Collection[int] = ()) -> None:
        """Forget what was said of versions that are neither loaded nor `wanted`."""
        model = self._models.get(name)
        if model is not None:
            model.absent = {number: state for number, state in model.absent.items() if number in wanted}

    def enter(self, served: ServedVersion) -> None:
        """Let `served` be asked by its number; it takes the place of another one with that number."""
        number = served.version.number
        model = self._models.setdefault(served.version.name, ServedModel(served.version.name))
        model.absent.pop(number, None)
        former = model.versions.get(number)
        model.versions[number] = served
        self._touch(served)
        self._divide(model)
        if former is not None:
            self._retire(former)

    def arrange(self, name: str, plan: Plan, *, spare_until: float = 0.0) -> None:
        """Let default, labels and versions be as planned, in one step. What answered by default before is kept as a spare until then."""
        model = self._models.get(name)
        if model is None:
            return
        former, model.default, model.labels, model.traffic = model.default, plan.default, dict(plan.labels), plan.traffic
        gone = [(number, model.versions.pop(number)) for number in plan.unload]
        self._divide(model)
        for number, old in gone:
            if number == former and spare_until and not old.is_asleep:
                self.drop_spare(name)
                model.spare, model.spare_until = old, spare_until
            else:
                self._retire(old)

    def switch(self, served: ServedVersion, label: str) -> None:
        """Let `served` alone answer from now on, under its number, by default and as `label`; retire what answered before."""
        name, number = served.version.name, served.version.number
        self.enter(served)
        others = tuple(other for other in self._models[name].versions if other != number)
        self.arrange(name, Plan((), number, {label: number}, others))
        self.settle(name)

    def remove(self, name: str) -> None:
        """Stop serving a model; requests in flight are still answered."""
        self.drop_spare(name)
        model = self._models.pop(name, None)
        if model is None:
            return
        gone, model.versions, model.traffic = tuple(model.versions.values()), {}, None
        self._divide(model)
        for old in gone:
            self._retire(old)

    def expel(self, served: ServedVersion, error: FairleadError) -> None:
        """Take a version out that cannot be woken, and say why."""
        model = self._models.get(served.version.name)
        if model is not None and model.versions.get(served.version.number) is served:
            del model.versions[served.version.number]
            self._divide(model)
            self._retire(served)
            self.fail_load(served.version, error)

    def take_spare(self, version: Version) -> ServedVersion | None:
        """Return the spare if it is `version`; it is nobody's spare then."""
        model = self._models.get(version.name)
        if model is None or model.spare is None or not is_same(model.spare.version, version):
            return None
        spare, model.spare = model.spare, None
        return spare

    def drop_spare(self, name: str) -> None:
        """Unload what is kept for a rollback."""
        model = self._models.get(name)
        if model is not None and model.spare is not None:
            spare, model.spare = model.spare, None
            self._retire(spare)

    def drop_spares(self, now: float) -> None:
        """Unload what has been kept for a rollback long enough; `now` is monotonic seconds."""
        for name, model in self._models.items():
            if model.spare is not None and now >= model.spare_until:
                self.drop_spare(name)

    def give_way(self, victim: Resident) -> None:
        """Unload an idle version because others need its memory; it stays in the table, asleep, unless it is a spare."""
        if victim.is_spare:
            self.drop_spare(victim.name)
        else:
            self._models[victim.name].versions[victim.number].sleep()
            self.on_freed()

    # Requests.

    def begin_request(self, served: ServedVersion) -> None:
        """Keep `served` loaded until `end_request`."""
        served.in_flight += 1
        self._touch(served)

    def end_request(self, served: ServedVersion) -> None:
        """Let go of `served`; the last request of a retired version gives its memory back."""
        served.in_flight -= 1
        if served.is_retired and served.in_flight == 0:
            self._draining.remove(served)
            self._let_go(served)

    def _divide(self, model: ServedModel) -> None:
        model.split = self.divide(model)

    def _touch(self, served: ServedVersion) -> None:
        self._use_count += 1
        served.last_used = self._use_count

    def _retire(self, served: ServedVersion) -> None:
        served.is_retired = True
        if served.in_flight == 0:
            self._let_go(served)
        else:
            self._draining.append(served)

    def _let_go(self, served: ServedVersion) -> None:
        self._dispose(served)
        self.on_freed()


def _state(served: ServedVersion, state: State) -> VersionState:
    reason = "asleep: others needed the memory; the next request loads it" if served.is_asleep and state is State.READY else ""
    return VersionState(served.version.name, served.version.number, state, "", reason)
