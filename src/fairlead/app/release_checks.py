"""What keeps a version from taking over: it does not exist, was not proven, is not approved, or its clients would notice.

Takes references and a House; gives Versions. Raises NotFoundError, SpecError, RejectedError (red, or another interface), ApprovalError,
CorruptError. Changes nothing.
"""

from __future__ import annotations

from fairlead.app.wiring import House
from fairlead.core.interface import Interface
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, parse_reference
from fairlead.errors import RejectedError, SpecError
from fairlead.register.approval import require_approval
from fairlead.register.compatibility import incompatibilities, tensor_changes
from fairlead.register.names import proposal
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file


def named_version(reference: str, house: House) -> Version:
    """Return the version that `reference` names by its number."""
    parsed = parse_reference(reference)
    if parsed.number is None:
        raise SpecError(
            f"'{reference}' does not say which version.", hint=f"Write it like {parsed.name}:1; see `fairlead show {parsed.name}`."
        )
    return resolve(parsed, records=house.records)


def check_candidate(version: Version, alias: str, house: House, *, allow_interface_change: bool = False, is_split: bool = False) -> None:
    """Raise what keeps `version` from answering for `alias`; with `is_split`, from sharing its requests with the live one."""
    verdict = load(read_file(version, "verdict.json", house.blobs), Verdict)
    if not verdict.is_green:
        failed = ", ".join(check.name for check in verdict.failures) or "it holds no check"
        raise RejectedError(f"The verdict of {version.label} is red ({failed}).", hint=f"See: fairlead show {version.label}.")
    require_approval(version, alias, records=house.records)
    number = house.records.aliases(version.name).get(alias, 0)
    if number in {0, version.number}:
        return
    live = house.records.version(version.name, number)
    before, after = interface_of(live, house), interface_of(version, house)
    noticed, tensors = incompatibilities(before, after), tensor_changes(before, after)
    if is_split and tensors and allow_interface_change:
        raise RejectedError(
            f"Requests cannot be split between {live.label} and {version.label}: {'; '.join(tensors)}.",
            hint=_hint(before, after, f"promote it at once: fairlead promote {version.label} --allow-interface-change."),
        )
    if noticed and not allow_interface_change:
        raise RejectedError(
            f"Clients of {live.label} would notice {version.label}: {'; '.join(noticed)}.",
            hint=_hint(before, after, "register it under a name of its own, or say that this is meant: --allow-interface-change."),
        )


def _hint(live: Interface, candidate: Interface, way: str) -> str:
    """Return what to do: one whose tensors differ in their names alone can have the live ones; else `way` is left."""
    options = proposal(live, candidate)
    if not options:
        return way[0].upper() + way[1:]
    return f"Only names differ. Where the tensors mean the same, deploy it again with {options}. Otherwise {way}"


def interface_of(version: Version, house: House) -> Interface:
    """Return what a version takes and gives."""
    return load(read_file(version, "interface.json", house.blobs), Interface)
