from __future__ import annotations

import pytest

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.errors import ApprovalError, CorruptError, ForbiddenError, NotFoundError, SpecError
from fairlead.register import aliases
from fairlead.register.approval import (
    APPROVAL,
    approval_of,
    approve,
    protect,
    protection,
    require_approval,
    unprotect,
    withdraw,
)
from fairlead.stores.document import dump, load
from memory_records import MemoryRecords


def clock() -> float:
    return 1000.0


@pytest.fixture
def records() -> MemoryRecords:
    made = MemoryRecords()
    for number in range(3):
        manifest = Manifest((FileEntry("model.onnx", number, f"{number}" * 64),))
        made.add_version("digits", manifest, 1.0, {"publisher": "ann"} if number else {})
    return made


def version(records: MemoryRecords, number: int = 2) -> Version:
    return records.version("digits", number)


def guard(records: MemoryRecords, *names: str) -> None:
    protect("digits", records=records, clock=clock, author="boss", **({"aliases": names} if names else {}))


def test_a_model_that_nobody_protected_needs_no_approval(records):
    require_approval(version(records), "production", records=records)
    assert protection("digits", records=records) is None


def test_production_of_a_protected_model_takes_an_approval_and_other_aliases_do_not(records):
    guard(records)
    with pytest.raises(ApprovalError, match="has no approval") as caught:
        require_approval(version(records), "production", records=records)
    assert "anybody but ann" in caught.value.hint
    assert isinstance(caught.value, ForbiddenError)
    require_approval(version(records), "staging", records=records)
    guard(records, "staging", "production")
    with pytest.raises(ApprovalError):
        require_approval(version(records), "staging", records=records)


def test_somebody_else_approves_and_it_may_go(records):
    guard(records)
    given = approve(version(records), records=records, clock=clock, approver="bob")
    assert (given.digest, given.publisher, given.approver) == (version(records).digest, "ann", "bob")
    require_approval(version(records), "production", records=records)
    with pytest.raises(ApprovalError):  # of this version only
        require_approval(version(records, 3), "production", records=records)


def test_nobody_approves_of_what_they_published_themselves(records):
    guard(records)
    with pytest.raises(ApprovalError, match="ann published digits:2"):
        approve(version(records), records=records, clock=clock, approver="ann")
    assert approval_of(version(records), records=records) is None


def test_a_version_whose_publisher_nobody_knows_cannot_be_approved(records):
    with pytest.raises(ApprovalError, match="Nobody knows"):
        approve(version(records, 1), records=records, clock=clock, approver="bob")


def test_an_approval_that_was_written_past_the_rule_does_not_count(records):
    """Whoever writes the registry's facts by hand does not get past the look at the publisher."""
    guard(records)
    forged = {"digest": version(records).digest, "approver": "ann", "publisher": "somebody", "at": 1.0}
    records.put_fact(APPROVAL, "digits:2", dump(forged).decode(), expected=0, at=1.0, author="ann")
    with pytest.raises(ApprovalError, match="who published it"):
        require_approval(version(records), "production", records=records)


def test_an_approval_of_other_content_is_no_approval(records):
    guard(records)
    other = {"digest": "f" * 64, "approver": "bob", "publisher": "ann", "at": 1.0}
    records.put_fact(APPROVAL, "digits:2", dump(other).decode(), expected=0, at=1.0, author="bob")
    with pytest.raises(CorruptError, match="is about"):
        require_approval(version(records), "production", records=records)


def test_a_withdrawn_approval_is_gone_and_stays_in_the_history(records):
    guard(records)
    approve(version(records), records=records, clock=clock, approver="bob")
    withdraw(version(records), records=records, clock=clock, author="eve")
    with pytest.raises(ApprovalError):
        require_approval(version(records), "production", records=records)
    with pytest.raises(NotFoundError, match="no approval"):
        withdraw(version(records), records=records, clock=clock, author="eve")
    first, second = records.fact_history(APPROVAL, "digits:2")
    assert (load(first.body.encode(), dict)["approver"], second.body, second.author) == ("bob", None, "eve")
    approve(version(records), records=records, clock=clock, approver="cid")
    require_approval(version(records), "production", records=records)


def test_protection_ends_where_somebody_says_so(records):
    guard(records)
    assert unprotect("digits", records=records, clock=clock, author="boss")
    require_approval(version(records), "production", records=records)
    assert not unprotect("digits", records=records, clock=clock, author="boss")


def test_every_way_to_the_alias_asks(records):
    guard(records)
    with pytest.raises(ApprovalError):
        aliases.promote("digits", 2, records=records, clock=clock)
    assert records.aliases("digits") == {}
    approve(version(records), records=records, clock=clock, approver="bob")
    aliases.promote("digits", 2, records=records, clock=clock)
    assert records.aliases("digits") == {"production": 2}


@pytest.mark.parametrize(("name", "alias", "error"), [("nothing", "production", NotFoundError), ("digits", "Prod uction", SpecError)])
def test_what_does_not_exist_cannot_be_protected(records, name, alias, error):
    with pytest.raises(error):
        protect(name, records=records, clock=clock, author="boss", aliases=(alias,))
