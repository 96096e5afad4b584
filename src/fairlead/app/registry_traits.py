"""What search knows of a version, read from its files: for versions that were registered before anybody wrote it down.

`traits_of` takes a version's files, gives traits; `catch_up` gives every version that lacks them its own, once. Raises CorruptError where
a version's files are not what was registered (`catch_up` passes over such a version). Never changes a trait that is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.app.wiring import House
from fairlead.core.interface import Interface
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Candidate, Plan
from fairlead.core.traits import Trait, version_traits
from fairlead.core.verdict import Verdict
from fairlead.errors import CorruptError, FairleadError, NotFoundError, StorageError
from fairlead.stores.document import dump, load
from fairlead.stores.version_files import read_file

_KIND, _KEY = "index", "traits"
_FILES = ("verdict.json", "engine.json", "lineage.json", "plan.json", "interface.json")
_READ_COUNT = 1000
_LAG = 500  # changes that are read again with every search, before it is worth a write to remember that they were read
_TAG = "tag:"


@dataclass(frozen=True)
class _Reached:
    """Every version up to change `sequence` has its traits, or cannot have any."""

    sequence: int = 0


def traits_of(read: Callable[[str], bytes], *, publisher: str = "") -> dict[str, Trait]:
    """Return the traits that a version's evidence shows; `read` gives a file of it by name."""
    verdict, engine, lineage, plan, interface = map(read, _FILES)
    return version_traits(
        load(verdict, Verdict),
        load(engine, Candidate),
        load(lineage, Lineage),
        load(plan, Plan),
        load(interface, Interface),
        publisher=publisher,
    )


def catch_up(house: House) -> int:
    """Give traits to every version that has none, and return how many got some. What was looked at before is not looked at again."""
    reports = [report for report in house.records.reports(_KIND, _KEY) if report.key == _KEY]
    begun = load(reports[0].body.encode(), _Reached).sequence if reports else 0
    reached, count, has_versions = begun, 0, False
    while changes := house.records.changes(reached, _READ_COUNT):
        for change in changes:
            if change.kind == "version.created":
                has_versions = True
                count += _add(str(change.detail["name"]), int(change.detail["number"]), house)
        reached = changes[-1].sequence
    if has_versions or reached - begun > _LAG:
        with contextlib.suppress(StorageError):  # one that may only be read is searched all the same
            house.records.put_report(_KIND, _KEY, dump(_Reached(reached)).decode(), house.clock())
    return count


def _add(name: str, number: int, house: House) -> bool:
    try:
        if any(not key.startswith(_TAG) for key in house.records.traits(name, number)):
            return False
        version = house.records.version(name, number)
        house.records.add_traits(name, number, traits_of(lambda file: read_file(version, file, house.blobs)))
    except (NotFoundError, CorruptError):
        return False  # retired, or damaged: there is nothing to say of it
    except StorageError:
        raise
    except FairleadError:
        return False
    return True
