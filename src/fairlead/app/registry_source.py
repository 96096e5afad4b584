"""The registry as a server sees it: which versions of which models it should have, how requests divide between them, how to load one.

Takes a House and what the user named; is a VersionSource. Raises StorageError where the registry is away, CorruptError where a version's
files are not what was registered, SpecError for a name that cannot be one. One model whose record is damaged does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.app.model import open_version
from fairlead.app.wiring import House
from fairlead.core.aspired import Aspired, Selection, choose, with_traffic
from fairlead.core.fact import Fact
from fairlead.core.ports import LoadedModel
from fairlead.core.release import Release
from fairlead.core.traffic import TrafficPlan
from fairlead.core.version import PRODUCTION, Version, parse_reference
from fairlead.errors import CorruptError
from fairlead.register.promotion import FACT
from fairlead.stores.document import load
from fairlead.stores.leases import prune


class RegistrySource:
    """Serves what is named, or every model of the registry. A bare name is served by `policy`, which is by default what `alias` points at;
    `digits:3` and `digits@staging` are served besides. While a release of that alias runs, its split is followed, unless a number or
    another alias was named first. `is_apart` says that worker processes open what they can, so that this one need not.
    """

    def __init__(
        self, house: House, named: Iterable[str] = (), alias: str = PRODUCTION, *, policy: Selection | None = None, is_apart: bool = False
    ) -> None:
        self._house, self._alias, self._is_apart = house, alias, is_apart
        self._policy = policy or Selection((alias,))
        self.selections = selections(named, self._policy)
        self._digests: frozenset[str] = frozenset()

    def aspired(self) -> Mapping[str, Aspired]:
        """Return model name -> what is wanted of it."""
        records = self._house.records
        releases = {fact.key: fact for fact in records.facts(FACT)}
        found = {name: self._aspired(name, releases.get(name)) for name in self.selections or records.names()}
        self._digests = frozenset(version.digest for item in found.values() for version in item.versions)
        return found

    def _aspired(self, name: str, fact: Fact | None) -> Aspired:
        records, selection = self._house.records, self.selections.get(name, self._policy)
        aliases = records.aliases(name)
        try:
            wanted = choose(name, selection, records.versions(name), aliases, followed=self._alias)
            plan = None if fact is None or fact.body is None else self._traffic(load(fact.body.encode(), Release), selection)
        except CorruptError as error:
            return Aspired(name, aliases=aliases, problem=error)
        return wanted if plan is None else with_traffic(wanted, plan)

    def _traffic(self, release: Release, selection: Selection) -> TrafficPlan | None:
        is_followed = not selection.named or selection.named[0] == self._alias
        return release.traffic() if is_followed and release.alias == self._alias else None

    def wait(self, since: int, timeout_s: float) -> int:
        """Return the sequence as soon as it is not `since` any more, or after `timeout_s`."""
        return self._house.records.wait_for_change(since, timeout_s)

    def sequence(self) -> int:
        """Return a number that grows with every change in the registry."""
        return self._house.records.sequence()

    def load(self, version: Version) -> LoadedModel:
        """Unpack, check and start `version`; then remove unpacked versions that are neither wanted nor used by any process."""
        loaded = open_version(version, self._house, is_apart=self._is_apart)
        prune(self._house.loaded, keep=self._digests)
        return loaded


def selections(named: Iterable[str], policy: Selection) -> dict[str, Selection]:
    """Return what is to be served of each model that a person named: `digits`, `digits:3`, `digits@staging`."""
    found: dict[str, Selection] = {}
    for text in named:
        reference = parse_reference(text)
        item = reference.number or reference.alias
        said = policy if item is None else Selection((item,))
        found[reference.name] = found[reference.name] | said if reference.name in found else said
    return found
