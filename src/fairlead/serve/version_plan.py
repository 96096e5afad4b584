"""What a server does next about one model: what to load, what answers, what goes. Pure functions of what is wanted and what is there.

Takes an Aspired, a Standing (what is loaded and what answers now) and the failures so far; gives a Plan. Laws: nothing of a model is
unloaded before everything that is wanted of it has been loaded, so a load that fails takes nothing down; the default version and the labels
only ever move to a version that is loaded; a version that failed is not tried again before its time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fairlead.core.aspired import Aspired
from fairlead.core.traffic import TrafficPlan
from fairlead.core.version import Version
from fairlead.errors import FairleadError

_RETRY_S = 5.0  # a failed load is tried again after this, doubled each time
_RETRY_LIMIT_S = 300.0


@dataclass(frozen=True)
class Failure:
    """A version that did not load: how often, why last, and when (monotonic seconds) to try again."""

    version: Version
    count: int
    retry_at: float
    error: FairleadError | None = None


@dataclass(frozen=True)
class Standing:
    """What a server has of one model: its loaded versions by number, the default (0: none), the labels, and the plan of its split."""

    versions: Mapping[int, Version] = field(default_factory=dict)
    default: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    traffic: TrafficPlan | None = None


@dataclass(frozen=True)
class Plan:
    """Versions to load, in order of importance; the default, the labels and the split from now on; numbers of versions to unload."""

    load: tuple[Version, ...] = ()
    default: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    unload: tuple[int, ...] = ()
    traffic: TrafficPlan | None = None


def plan_model(aspired: Aspired, standing: Standing, loading: Collection[Version], failures: Mapping[int, Failure], now: float) -> Plan:
    """Compare what is wanted with what is there; `now` is monotonic seconds. Failures are by version number."""
    there = standing.versions
    wanted = {version.number: version for version in aspired.versions}
    ready = {number for number, version in wanted.items() if is_same(there.get(number), version)}
    absent = [version for number, version in wanted.items() if number not in ready]
    load = [version for version in absent if _may_load(version, loading, failures, now)]
    load.sort(key=lambda version: version.number != aspired.default)  # what answers by default comes first
    if not wanted:
        return Plan(unload=tuple(there))
    default = standing.default if aspired.default not in ready and standing.default in there else aspired.default
    labels = {alias: number for alias, number in _labels(aspired, standing, ready, wanted).items() if number in there}
    unload = () if absent else tuple(number for number in there if number not in ready)
    return Plan(tuple(load), default, labels, unload, aspired.traffic)


def _labels(aspired: Aspired, standing: Standing, ready: Collection[int], wanted: Collection[int]) -> dict[str, int]:
    """Each alias where it points; where that is not loaded yet, where it pointed before; none for what is not served here."""
    served = {alias: number for alias, number in aspired.aliases.items() if number in wanted}
    return {alias: number if number in ready else standing.labels.get(alias, 0) for alias, number in served.items()}


def _may_load(version: Version, loading: Collection[Version], failures: Mapping[int, Failure], now: float) -> bool:
    failure = failures.get(version.number)
    has_to_wait = failure is not None and is_same(failure.version, version) and now < failure.retry_at
    return not has_to_wait and not any(item.number == version.number for item in loading)


def next_failure(version: Version, error: FairleadError, previous: Failure | None, now: float) -> Failure:
    """Return when to try `version` again: later each time."""
    count = previous.count + 1 if previous is not None and is_same(previous.version, version) else 1
    return Failure(version, count, now + min(_RETRY_S * 2 ** (count - 1), _RETRY_LIMIT_S), error)


def is_same(one: Version | None, other: Version) -> bool:
    """Whether both are the same version with the same content: a registry that was made anew may use a number again."""
    return one is not None and one.number == other.number and one.manifest == other.manifest
