"""What a server should have loaded of a model: the policy that chooses versions, and the choice. Pure values and one pure function.

`choose` takes a Selection and what the registry says; gives an Aspired. `parse_policy` raises SpecError. Law: the default version is one of
those chosen, and the same facts always give the same choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.core.traffic import TrafficPlan
from fairlead.core.version import PRODUCTION, Version, check_alias
from fairlead.errors import FairleadError, SpecError

_LATEST = re.compile(r"latest(?::([1-9][0-9]{0,5}))?")


@dataclass(frozen=True)
class Selection:
    """Which versions of a model are served: the union of what is said. `named` holds numbers and aliases in the order in which a person
    named them.
    """

    named: tuple[int | str, ...] = ()
    latest_count: int = 0
    is_all: bool = False

    def __or__(self, other: Selection) -> Selection:
        """Return both together."""
        named = tuple(dict.fromkeys((*self.named, *other.named)))
        return Selection(named, max(self.latest_count, other.latest_count), self.is_all or other.is_all)


@dataclass(frozen=True)
class Aspired:
    """What a server should have of one model: `versions`, of which `default` answers where none is named (0: none was chosen).

    `aliases` are all of the model's; `known` is every registered version. `problem` says why the registry could not be read for this
    model: what serves then goes on serving. `traffic` divides the requests that name no version, while a release runs.
    """

    name: str
    versions: tuple[Version, ...] = ()
    default: int = 0
    aliases: Mapping[str, int] = field(default_factory=dict)
    known: tuple[Version, ...] = ()
    problem: FairleadError | None = None
    traffic: TrafficPlan | None = None


def choose(name: str, selection: Selection, known: Sequence[Version], aliases: Mapping[str, int], *, followed: str = PRODUCTION) -> Aspired:
    """Return what `selection` chooses among the `known` versions, oldest first.

    Where numbers or aliases were named, the first of them that exists answers by default. For the latest N and for all, the version behind
    the `followed` alias is always among those chosen and is the default; where the model has no such alias, the newest is.
    """
    numbers = {version.number for version in known}
    meant = (aliases.get(item, 0) if isinstance(item, str) else item for item in selection.named)
    named = tuple(number for number in meant if number in numbers)
    newest = sorted(numbers, reverse=True)
    broad = newest if selection.is_all else newest[: selection.latest_count]
    live = aliases.get(followed, 0)
    chosen = {*named, *broad, *((live,) if broad and live in numbers else ())}
    default = live if broad and live in chosen and not named else (*named, *broad, 0)[0]
    return Aspired(name, tuple(version for version in known if version.number in chosen), default, dict(aliases), tuple(known))


def with_traffic(aspired: Aspired, plan: TrafficPlan) -> Aspired:
    """Return `aspired` while the release of `plan` runs: its versions are wanted besides, as far as they are registered."""
    needed = plan.versions | {version.number for version in aspired.versions}
    versions = tuple(version for version in aspired.known if version.number in needed)
    return replace(aspired, versions=versions, traffic=plan)


def alone(version: Version, label: str) -> Aspired:
    """Return that just this version is wanted, by default and as `label`."""
    return Aspired(version.name, (version,), version.number, {label: version.number}, (version,))


def parse_policy(text: str, *, followed: str = PRODUCTION) -> Selection:
    """Parse `alias`, `latest`, `latest:3` or `all`; raises SpecError. `alias` means the `followed` one."""
    if text == "alias":
        return Selection((check_alias(followed),))
    if text == "all":
        return Selection(is_all=True)
    match = _LATEST.fullmatch(text)
    if match is None:
        raise SpecError(f"'{text[:64]}' is not a version policy.", hint="Policies: alias, latest:2 (any number), all.")
    return Selection(latest_count=int(match[1] or 1))
