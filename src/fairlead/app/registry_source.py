"""The registry as a server sees it: which versions of which models it should have, and how to load one.

Takes a House and what the user named; is a VersionSource. Raises StorageError where the registry is away, CorruptError where a version's
files are not what was registered, SpecError for a name that cannot be one. One model whose record is damaged does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.app.model import open_version
from fairlead.app.wiring import House
from fairlead.core.aspired import Aspired, Selection, choose
from fairlead.core.ports import LoadedModel
from fairlead.core.version import PRODUCTION, Version, parse_reference
from fairlead.errors import CorruptError
from fairlead.stores.leases import prune


class RegistrySource:
    """Serves what is named, or every model of the registry. A bare name is served by `policy`, which is by default what `alias` points at;
    `digits:3` and `digits@staging` are served besides. `is_apart` says that worker processes open what they can, so that this one need not.
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
        found = {name: self._aspired(name) for name in self.selections or records.names()}
        self._digests = frozenset(version.digest for item in found.values() for version in item.versions)
        return found

    def _aspired(self, name: str) -> Aspired:
        records, selection = self._house.records, self.selections.get(name, self._policy)
        aliases = records.aliases(name)
        try:
            return choose(name, selection, records.versions(name), aliases, followed=self._alias)
        except CorruptError as error:
            return Aspired(name, aliases=aliases, problem=error)

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
