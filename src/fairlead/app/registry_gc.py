"""Clean-up of the registry: versions that nothing uses are retired, then the files that no version lists are removed.

`collect` takes a House and what to keep; gives Collected, with a reason for every version. Never retires what anything uses (see
`registry_uses`), nor the newest ones. Killed at any moment it loses nothing: a version is retired first, in one transaction, and its files
go by age afterwards; a version that is registered meanwhile puts its files anew, so they stay. Raises NotFoundError, StorageError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.app.registry_uses import Uses
from fairlead.app.wiring import House
from fairlead.core.ports import Progress
from fairlead.core.strategy import Strategy
from fairlead.core.version import Version, check_name
from fairlead.errors import ConflictError, NotFoundError
from fairlead.register.collect import sweep
from fairlead.register.resolve import require_name
from fairlead.register.retention import Fate, Policy, decide
from fairlead.stores.document import load
from fairlead.stores.leases import prune
from fairlead.stores.version_files import read_file

KEEP_COUNT = 5
_ATTEMPT_COUNT = 20  # looks at one version while others go on changing the registry
_STRATEGY = "strategy.json"


@dataclass(frozen=True)
class VersionFate:
    """What becomes of one version, and why."""

    version: str
    stays: bool
    why: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Collected:
    """All fates; `retired` are those that went (or would go), `freed_bytes` of `file_count` files with them. `waiting_count` files go with
    a later run: they are younger than a day.
    """

    fates: tuple[VersionFate, ...]
    retired: tuple[str, ...]
    file_count: int
    freed_bytes: int
    waiting_count: int
    is_dry_run: bool


def collect(
    house: House,
    names: Iterable[str] = (),
    *,
    keep_count: int | None = None,
    min_age_s: float = 0.0,
    is_dry_run: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Retire what nothing uses, of every model or of those in `names`; with `is_dry_run` only say what would go.

    `keep_count` None keeps as many as the newest version's strategy says, else KEEP_COUNT.
    """
    wanted = tuple(names)
    for name in wanted:
        require_name(check_name(name), records=house.records)
    uses = Uses(house)
    fates = [fate for name in wanted or house.records.names() for fate in _fates(name, keep_count, min_age_s, uses, house)]
    going = [fate.version for fate in fates if not fate.stays]
    if not is_dry_run:
        fates, going = _retire(fates, uses, house, progress)
    gone = frozenset((version.name, version.number) for version in going)
    swept = sweep(records=house.records, blobs=house.blobs, is_dry_run=is_dry_run, without=gone)
    if not is_dry_run:
        listed = {version.digest for name in house.records.names() for version in house.records.versions(name)}
        prune(house.loaded, keep=listed)
    left = {entry.digest for version in going for entry in version.manifest.files} & swept.unlisted
    removed = frozenset(swept.blobs)
    return Collected(
        tuple(VersionFate(fate.version.label, fate.stays, fate.why, fate.version.manifest.size_bytes) for fate in fates),
        tuple(version.label for version in going),
        len(removed),
        swept.size_bytes,
        len(left - removed),
        is_dry_run,
    )


def _fates(name: str, keep_count: int | None, min_age_s: float, uses: Uses, house: House) -> tuple[Fate, ...]:
    versions = house.records.versions(name)
    policy = Policy(keep_count, min_age_s) if keep_count is not None else _usual(versions, min_age_s, house)
    return decide(versions, uses.of(name, versions), policy, house.clock())


def _usual(versions: Iterable[Version], min_age_s: float, house: House) -> Policy:
    """Return the policy that the newest version's strategy states, else the default one."""
    newest = max(versions, key=lambda version: version.number, default=None)
    if newest is None or all(entry.name != _STRATEGY for entry in newest.manifest.files):
        return Policy(KEEP_COUNT, min_age_s)
    strategy = load(read_file(newest, _STRATEGY, house.blobs), Strategy)
    return Policy(strategy.retention.version_count, min_age_s, f"the strategy of {newest.label}")


def _retire(fates: list[Fate], uses: Uses, house: House, progress: Progress | None) -> tuple[list[Fate], list[Version]]:
    """Retire what goes, each looked at once more; return the fates as they turned out, and what went."""
    turned_out, gone = [], []
    wanted_count = sum(not fate.stays for fate in fates)
    if progress is not None and wanted_count:
        progress.step("retire")
    for fate in fates:
        version = fate.version
        if fate.stays:
            turned_out.append(fate)
            continue
        try:
            _retire_unused(version, f"{house.settings.user} ran fairlead gc: {fate.why[0]}", uses, house)
        except ConflictError as error:
            turned_out.append(Fate(version, stays=True, why=(f"meanwhile: {error.message}",)))
        except NotFoundError:
            continue  # another gc was faster
        else:
            turned_out.append(fate)
            gone.append(version)
            if progress is not None:
                progress.tell(f"{len(gone)} of {wanted_count}")
    if progress is not None and wanted_count:
        progress.done(f"{len(gone)} of {wanted_count}")
    return turned_out, gone


def _retire_unused(version: Version, reason: str, uses: Uses, house: House) -> None:
    """Retire the version in one step with the look at what uses it: the registry refuses where anything changed since, and it is looked at
    again. Raises ConflictError where something uses it.
    """
    for attempts_left in reversed(range(_ATTEMPT_COUNT)):
        seen = house.records.sequence()
        uses.require_none(version)
        try:
            house.records.retire_version(version.name, version.number, at=house.clock(), reason=reason, after=seen)
        except ConflictError:
            if not attempts_left or house.records.sequence() == seen:
                raise
        else:
            return
