"""Which versions a server has loaded, and the atomic switch from one to the next.

Takes warmed versions; gives the one that a request goes to. Raises NotFoundError for what was never there, UnavailableError for what is
loading or failed. Law: a version leaves the table in the same step in which the next one enters it, and it is closed only when
its last request has been answered. The table is touched by one thread only, the event loop's; it never loads and never waits.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import Interface, shorten
from fairlead.core.version import Version
from fairlead.errors import FairleadError, NotFoundError, UnavailableError
from fairlead.serve.executor import Executor
from fairlead.serve.scheduler import Scheduler


class State(enum.StrEnum):
    """The life of a version in a server, named as the repository extension of the V2 protocol names it."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class VersionState:
    """What a server says about one version; `code` and `reason` are those of the error that keeps it from serving."""

    name: str
    number: int
    state: State
    code: str = ""
    reason: str = ""


@dataclass(slots=True)
class ServedVersion:
    """A loaded version: what runs it, and who decides what runs when. `in_flight` counts the requests that it still has to answer.

    `is_deterministic` is what its verdict says: only then may answers be kept. `memory_bytes` is what it takes, as far as is known.
    """

    version: Version
    executor: Executor
    scheduler: Scheduler
    is_deterministic: bool = False
    memory_bytes: int = 0
    in_flight: int = 0
    is_retired: bool = False
    interface: Interface = field(init=False)  # kept: it is asked for with every request

    def __post_init__(self) -> None:
        self.interface = self.executor.interface

    def close(self) -> None:
        """Give memory, threads and processes back."""
        self.scheduler.close()


@dataclass(slots=True)
class ServedModel:
    """One model: its loaded versions by number, the one that answers by default, and how many requests are admitted now."""

    name: str
    versions: dict[int, ServedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    default: int = 0
    admitted: int = 0
    states: dict[int, VersionState] = field(default_factory=dict)


class ModelTable:
    """`dispose` is called with each version that nobody needs any more."""

    def __init__(self, dispose: Callable[[ServedVersion], None] = ServedVersion.close) -> None:
        self._models: dict[str, ServedModel] = {}
        self._dispose = dispose

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """Every model by name."""
        return self._models

    def states(self) -> tuple[VersionState, ...]:
        """Return the state of every version that is loaded, loading, or failed to load; by name, then number."""
        return tuple(model.states[number] for _, model in sorted(self._models.items()) for number in sorted(model.states))

    def is_ready(self, name: str, number: int | None = None) -> bool:
        """Whether a request for that model (and version) would find it loaded."""
        model = self._models.get(name)
        return model is not None and (model.default if number is None else number) in model.versions

    def are_all_ready(self) -> bool:
        """Whether every model that should be served is."""
        return all(self.is_ready(name) for name in self._models)

    def resolve(self, name: str, number: int | None = None, label: str = "") -> ServedVersion:
        """Return the version that a request goes to: by number, by label (an alias), or the default one."""
        model = self._models.get(name)
        if model is None:
            raise NotFoundError(f"There is no model '{shorten(name)}' here.", hint=self._known())
        if label:
            number = model.labels.get(label)
            if number is None:
                hint = f"Labels: {', '.join(model.labels) or 'none'}."
                raise NotFoundError(f"Model '{name}' has no label '{shorten(label)}' here.", hint=hint)
        served = model.versions.get(model.default if number is None else number)
        if served is None:
            raise self._why_absent(model, number)
        return served

    def _known(self) -> str:
        names = sorted(self._models)
        return f"Here are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}." if names else "Nothing is served here yet."

    @staticmethod
    def _why_absent(model: ServedModel, number: int | None) -> FairleadError:
        states = [state for state in model.states.values() if number is None or state.number == number]
        if any(state.state is State.LOADING for state in states):
            return UnavailableError(f"Model '{model.name}' is loading.", hint="Ask again in a moment.")
        if states:
            return UnavailableError(f"Version {states[-1].number} of model '{model.name}' could not be loaded ({states[-1].code}).")
        loaded = ", ".join(str(item) for item in sorted(model.versions)) or "none"
        return NotFoundError(f"Version {number} of model '{model.name}' is not loaded here.", hint=f"Loaded: {loaded}.")

    def begin_load(self, version: Version) -> None:
        """Say that `version` is being loaded; what serves goes on serving."""
        model = self._models.setdefault(version.name, ServedModel(version.name))
        _forget_absent(model)
        model.states[version.number] = VersionState(version.name, version.number, State.LOADING)

    def fail_load(self, version: Version, error: FairleadError) -> None:
        """Say why `version` does not serve; what serves goes on serving."""
        model = self._models.setdefault(version.name, ServedModel(version.name))
        if version.number not in model.versions:
            state = VersionState(version.name, version.number, State.UNAVAILABLE, error.code, str(error))
            model.states[version.number] = state

    def switch(self, served: ServedVersion, label: str) -> None:
        """Let `served` answer from now on, under its number, by default and as `label`; retire what answered before."""
        version = served.version
        model = self._models.setdefault(version.name, ServedModel(version.name))
        before = tuple(model.versions.values())
        model.versions = {version.number: served}
        model.labels = {label: version.number}
        model.default = version.number
        model.states = {version.number: VersionState(version.name, version.number, State.READY)}
        for old in before:
            self._retire(old)

    def settle(self, name: str) -> None:
        """Forget versions that failed or began to load and are not wanted any more; the one that serves is what is wanted."""
        model = self._models.get(name)
        if model is not None:
            _forget_absent(model)

    def remove(self, name: str) -> None:
        """Stop serving a model; requests in flight are still answered."""
        model = self._models.pop(name, None)
        for old in () if model is None else tuple(model.versions.values()):
            self._retire(old)

    def begin_request(self, served: ServedVersion) -> None:
        """Keep `served` loaded until `end_request`."""
        served.in_flight += 1

    def end_request(self, served: ServedVersion) -> None:
        """Let go of `served`; the last request of a retired version gives its memory back."""
        served.in_flight -= 1
        if served.is_retired and served.in_flight == 0:
            self._dispose(served)

    def _retire(self, served: ServedVersion) -> None:
        served.is_retired = True
        if served.in_flight == 0:
            self._dispose(served)


def _forget_absent(model: ServedModel) -> None:
    model.states = {number: state for number, state in model.states.items() if number in model.versions}
