"""Protected models: an alias of theirs moves to a version only after somebody other than its publisher has approved of its content.

Facts: kind "model", key `digits`, names the aliases that are protected; kind "approval", key `digits:4`, holds who approved of which
digest. Takes versions and names, gives Approval and Protection. Raises ApprovalError where an approval is missing or would be one's own,
ConflictError where somebody else was faster, SpecError and NotFoundError for names. Names of people are believed: there are no keys yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.core.ports import Clock, RecordStore
from fairlead.core.traits import PUBLISHER
from fairlead.core.version import PRODUCTION, Version, check_alias, check_name
from fairlead.errors import ApprovalError, CorruptError, NotFoundError
from fairlead.register.resolve import require_name
from fairlead.stores.document import dump, load

MODEL, APPROVAL = "model", "approval"


@dataclass(frozen=True)
class Protection:
    """Which aliases of a model need an approval, who said so and when (Unix seconds)."""

    aliases: tuple[str, ...]
    author: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Approval:
    """`approver` stands for the content with `digest`, which `publisher` registered."""

    digest: str
    approver: str
    publisher: str
    at: float


def protection(name: str, *, records: RecordStore) -> Protection | None:
    """Return what is protected of the model; None where nothing is."""
    fact = records.fact(MODEL, check_name(name))
    return None if fact is None or fact.body is None else load(fact.body.encode(), Protection)


def protect(name: str, *, records: RecordStore, clock: Clock, author: str, aliases: Iterable[str] = (PRODUCTION,)) -> Protection:
    """Let `aliases` of the model move to approved versions only, in place of those that were protected before."""
    require_name(name, records=records)
    wanted = Protection(tuple(sorted({check_alias(alias) for alias in aliases})), author, clock())
    _put(MODEL, name, dump(wanted).decode(), records, wanted.at, author)
    return wanted


def unprotect(name: str, *, records: RecordStore, clock: Clock, author: str) -> bool:
    """Let every alias of the model move again; return whether one was protected."""
    require_name(name, records=records)
    if protection(name, records=records) is None:
        return False
    _put(MODEL, name, None, records, clock(), author)
    return True


def approval_of(version: Version, *, records: RecordStore) -> Approval | None:
    """Return the approval that stands; None where there is none. Raises CorruptError where it is about other content."""
    fact = records.fact(APPROVAL, version.label)
    if fact is None or fact.body is None:
        return None
    found = load(fact.body.encode(), Approval)
    if found.digest != version.digest:
        raise CorruptError(
            f"The approval of {version.label} is about sha256:{found.digest[:12]}, the version is sha256:{version.digest[:12]}.",
            hint=f"Somebody changed the registry. Look into it, then withdraw it: fairlead approve {version.label} --withdraw",
        )
    return found


def approve(version: Version, *, records: RecordStore, clock: Clock, approver: str) -> Approval:
    """Record that `approver` stands for the version. Raises ApprovalError where that is its publisher, or nobody knows who is."""
    publisher = publisher_of(version, records=records)
    if not publisher:
        raise ApprovalError(
            f"Nobody knows who published {version.label}: it was registered before publishers were kept.",
            hint="Deploy it again: then it is known.",
        )
    if publisher == approver:
        raise ApprovalError(
            f"{approver} published {version.label} and cannot approve of it.",
            hint=f"Somebody else has to: fairlead approve {version.label} (or --as USER).",
        )
    given = Approval(version.digest, approver, publisher, clock())
    _put(APPROVAL, version.label, dump(given).decode(), records, given.at, approver)
    return given


def withdraw(version: Version, *, records: RecordStore, clock: Clock, author: str) -> None:
    """Take the approval back; who gave it and who took it stays in the history. Raises NotFoundError where there is none."""
    fact = records.fact(APPROVAL, version.label)
    if fact is None or fact.body is None:
        raise NotFoundError(f"{version.label} has no approval.", hint=f"See: fairlead show {version.label}")
    records.put_fact(APPROVAL, version.label, None, expected=fact.revision, at=clock(), author=author)


def require_approval(version: Version, alias: str, *, records: RecordStore) -> None:
    """Raise ApprovalError unless `alias` may move to the version: it is not protected, or somebody else than the publisher approved."""
    protected = protection(version.name, records=records)
    if protected is None or alias not in protected.aliases:
        return
    given = approval_of(version, records=records)
    publisher = publisher_of(version, records=records)
    if given is None:
        other = f"anybody but {publisher}, who published it" if publisher else "somebody"
        raise ApprovalError(
            f"{version.name} is protected: @{alias} moves to approved versions only, and {version.label} has no approval.",
            hint=f"It takes {other}: fairlead approve {version.label}",
        )
    if given.approver == publisher:
        raise ApprovalError(
            f"{version.label} was approved by {given.approver}, who published it.",
            hint=f"Somebody else has to: fairlead approve {version.label}",
        )


def publisher_of(version: Version, *, records: RecordStore) -> str:
    """Return who registered the version; "" where that is not known."""
    return str(records.traits(version.name, version.number).get(PUBLISHER, ""))


def _put(kind: str, key: str, body: str | None, records: RecordStore, at: float, author: str) -> None:
    fact = records.fact(kind, key)
    records.put_fact(kind, key, body, expected=0 if fact is None else fact.revision, at=at, author=author)
