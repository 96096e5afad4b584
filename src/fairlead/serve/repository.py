"""The models as a client sees them who looks after a server: index, load, unload, configuration, statistics.

Takes names and parameters as the transports read them; gives plain values. Raises NotFoundError for what the registry does not have,
ForbiddenError where clients may not load and unload, RequestError for parameters that are not offered, UnavailableError for a load that
failed, with its reason. It takes no files: models come from the registry only. Operations on one model happen one after the other, so the
last one that was acknowledged is the one that holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.core.aspired import Aspired, Selection
from fairlead.core.interface import shorten
from fairlead.errors import ForbiddenError, NotFoundError, RequestError, UnavailableError
from fairlead.serve.follower import Follower
from fairlead.serve.model_config import model_config
from fairlead.serve.model_table import ModelTable, State, VersionState
from fairlead.typed_json import decoder

StatisticsSource = Callable[[str, int], object]
_VERSIONS_LIMIT = 1_000_000
_UNLOAD_PARAMETERS = {"unload_dependents"}  # an ensemble holds its own steps, so nothing depends on what is unloaded


@dataclass(frozen=True)
class ModelIndex:
    """One version in the index; `version` is "" for a model that has none to name."""

    name: str
    version: str
    state: str
    reason: str = ""


class VersionPolicy(msgspec.Struct, forbid_unknown_fields=True):
    """Triton's version policy: exactly one of its three forms."""

    latest: dict[str, int] | None = None
    all: dict[str, int] | None = None
    specific: dict[str, list[int]] | None = None


class LoadConfig(msgspec.Struct, forbid_unknown_fields=True):
    """What of a model's configuration a load may set."""

    version_policy: VersionPolicy


class Repository:
    """`is_open` says whether clients may load and unload; `statistics` gives the entry of one version."""

    def __init__(self, table: ModelTable, follower: Follower, *, is_open: bool, statistics: StatisticsSource | None = None) -> None:
        self._table, self._follower, self._is_open, self._statistics = table, follower, is_open, statistics
        self._locks: dict[str, asyncio.Lock] = {}

    def index(self, *, ready_only: bool = False) -> tuple[ModelIndex, ...]:
        """Return every version that the registry has for this server, and what is still being unloaded; by name, then number."""
        states = {(state.name, state.number): state for state in self._table.states()}
        for name, aspired in self._follower.registry.items():
            for version in aspired.known or aspired.versions:
                key = (name, version.number)
                states.setdefault(key, VersionState(name, version.number, State.UNAVAILABLE, "", self._why_not_wanted(aspired)))
            if not any(key[0] == name for key in states):
                reason = "no version is registered" if aspired.problem is None else aspired.problem.message
                states[name, 0] = VersionState(name, 0, State.UNAVAILABLE, "", reason)
        found = (states[key] for key in sorted(states))
        return tuple(_entry(state) for state in found if not ready_only or self._table.is_ready(state.name, state.number))

    def _why_not_wanted(self, aspired: Aspired) -> str:
        if self._follower.is_unloaded(aspired.name):
            return "unloaded by a client"
        return "not chosen by the version policy"

    async def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Return when what is chosen of the model serves. A client's `config` may choose versions by Triton's version_policy."""
        selection = _selection(dict(parameters or {}))
        await self._check(name)
        if selection is not None:
            self._check_known(name, selection)
        async with self._locks.setdefault(name, asyncio.Lock()):
            self._follower.order(name, selection, is_load=True)
            await self._follower.settle(name)
            self._check_loaded(name)

    async def unload(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Return when no new request reaches the model; those that it has begun are answered. Unloading what is not loaded is no error."""
        for parameter in parameters or {}:
            if parameter not in _UNLOAD_PARAMETERS:
                raise _unknown(parameter)
        await self._check(name)
        async with self._locks.setdefault(name, asyncio.Lock()):
            self._follower.order(name, None, is_load=False)

    def config(self, name: str, number: int | None) -> dict[str, Any]:
        """Return the model's configuration in Triton's words."""
        return model_config(self._table.resolve(name, number), self._follower.aspired(name))

    def statistics(self, name: str | None, number: int | None) -> list[dict[str, Any]]:
        """Return the statistics of one version, of all versions of a model, or of all that are loaded."""
        if name is None:
            wanted = [served for _, model in sorted(self._table.models.items()) for _, served in sorted(model.versions.items())]
        else:
            served = self._table.resolve(name, number)
            wanted = [served] if number is not None else [item for _, item in sorted(self._table.models[name].versions.items())]
        return [self.entry(served.version.name, served.version.number) for served in wanted]

    def entry(self, name: str, number: int) -> dict[str, Any]:
        """Return the statistics of one version that is loaded."""
        served = self._table.resolve(name, number)
        version = served.version
        found: Any = self._statistics(version.name, version.number) if self._statistics is not None else {}
        memory = [{"type": "CPU", "id": 0, "byte_size": served.memory_bytes}] if served.memory_bytes else []
        return {"name": version.name, "version": str(version.number), **found, "memory_usage": memory}

    async def _check(self, name: str) -> None:
        """Raise unless clients may, and the registry, as it is now, has the model."""
        if not self._is_open:
            raise ForbiddenError(
                "Clients may not load or unload models here.", hint="Start the server with --allow-model-control, or move the alias."
            )
        await self._follower.poll()
        if name not in self._follower.registry:
            known = ", ".join(sorted(self._follower.registry)[:10]) or "none"
            raise NotFoundError(f"There is no model '{shorten(name)}' for this server.", hint=f"Models: {known}.")

    def _check_known(self, name: str, selection: Selection) -> None:
        """Raise where a version is named that there is not: the order would take those away that serve."""
        aspired = self._follower.registry[name]
        known = {version.number for version in aspired.known}
        missing = next((number for number in selection.named if number not in known), None)
        if missing is not None and aspired.problem is None:
            listed = ", ".join(map(str, sorted(known)[-10:])) or "none"
            raise NotFoundError(f"Model '{name}' has no version {missing}; what serves goes on serving.", hint=f"Registered: {listed}.")

    def _check_loaded(self, name: str) -> None:
        aspired = self._follower.aspired(name)
        if aspired.problem is not None:
            raise UnavailableError(f"Model '{name}' cannot be loaded: its record cannot be read ({aspired.problem.code}).")
        if not aspired.versions:
            raise NotFoundError(
                f"Model '{name}' has no version that the version policy chooses.",
                hint="Move the alias, or send a version_policy in the parameter 'config'.",
            )
        failures = self._follower.failures(name)
        for version in aspired.versions:
            failure = failures.get(version.number)
            if failure is not None and failure.error is not None and version.number not in self._table.standing(name).versions:
                raise UnavailableError(f"{version.label} could not be loaded ({failure.error.code}): {failure.error.message}")


def _entry(state: VersionState) -> ModelIndex:
    reason = f"{state.code}: {state.reason}" if state.code else state.reason
    return ModelIndex(state.name, str(state.number) if state.number else "", str(state.state), reason)


def _unknown(parameter: str) -> RequestError:
    return RequestError(f"The parameter '{shorten(parameter)}' is not offered here.", hint="Leave it out.")


def _selection(parameters: dict[str, Any]) -> Selection | None:
    """Return what a client chooses, None where it leaves that to the server."""
    config = parameters.pop("config", None)
    for parameter in parameters:
        if parameter.startswith("file:"):
            raise RequestError(f"The parameter '{shorten(parameter)}' would put a file into the repository.", hint="Use fairlead deploy.")
        raise _unknown(parameter)
    if config is None:
        return None
    if not isinstance(config, str):
        raise RequestError("The parameter 'config' is a text with JSON in it.")
    try:
        policy = decoder(LoadConfig).decode(config).version_policy
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise RequestError(f"The parameter 'config' cannot be used: {shorten(str(error), 120)}.", hint=_CONFIG_HINT) from None
    return _chosen(policy)


_CONFIG_HINT = 'It may hold {"version_policy": {"specific": {"versions": [3]}}}, or "latest" with "num_versions", or "all".'


def _chosen(policy: VersionPolicy) -> Selection:
    if [policy.latest, policy.all, policy.specific].count(None) != 2:
        raise RequestError("A version_policy is one of latest, all and specific.", hint=_CONFIG_HINT)
    if policy.specific is not None and policy.specific.keys() == {"versions"}:
        numbers = policy.specific["versions"]
        if numbers and all(0 < number <= _VERSIONS_LIMIT for number in numbers):
            return Selection(tuple(dict.fromkeys(numbers)))
    if (
        policy.latest is not None
        and policy.latest.keys() <= {"num_versions"}
        and 0 < policy.latest.get("num_versions", 1) <= _VERSIONS_LIMIT
    ):
        return Selection(latest_count=policy.latest.get("num_versions", 1))
    if policy.all == {}:
        return Selection(is_all=True)
    raise RequestError("The version_policy cannot be used.", hint=_CONFIG_HINT)
