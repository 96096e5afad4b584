from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.core.manifest import Manifest
from fairlead.core.version import parse_reference
from fairlead.errors import NotFoundError
from fairlead.register.resolve import require_name, resolve
from fairlead.stores.sqlite_records import SqliteRecords


@pytest.fixture
def records(tmp_path: Path) -> SqliteRecords:
    records = SqliteRecords(tmp_path / "registry.sqlite")
    for name, count in (("digits", 3), ("prices", 1)):
        for _ in range(count):
            records.add_version(name, Manifest(()), 1.0)
    records.move_alias("digits", "production", 2, expected=0, moved_at=1.0, reason="deploy")
    records.move_alias("digits", "staging", 3, expected=0, moved_at=1.0, reason="deploy")
    return records


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("digits", "digits:2"),
        ("digits:1", "digits:1"),
        ("digits:3", "digits:3"),
        ("digits@production", "digits:2"),
        ("digits@staging", "digits:3"),
        ("prices", "prices:1"),
    ],
)
def test_a_reference_means_one_version(records, text, label):
    assert resolve(parse_reference(text), records=records).label == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit", "Nothing is registered as 'digit'. Did you mean digits? Registered: digits, prices."),
        ("digit:1", "Nothing is registered as 'digit'. Did you mean digits?"),
        ("zebra", "Nothing is registered as 'zebra'. Registered: digits, prices."),
        ("digits:4", "There is no version digits:4. digits has versions 1 to 3."),
        ("prices:2", "There is no version prices:2. prices has version 1."),
        ("digits@stagign", "digits has no alias 'stagign'. Did you mean staging? Its aliases: production, staging."),
        ("prices@production", "prices has no alias 'production'. It has no alias yet."),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(records, text, message):
    with pytest.raises(NotFoundError) as caught:
        resolve(parse_reference(text), records=records)
    assert str(caught.value).startswith(message)


def test_an_empty_registry_says_how_to_begin(tmp_path):
    with pytest.raises(NotFoundError, match="fairlead deploy"):
        resolve(parse_reference("digits"), records=SqliteRecords(tmp_path / "registry.sqlite"))


def test_a_long_list_is_cut_and_counted(records):
    for number in range(20):
        records.add_version(f"model-{number:02}", Manifest(()), 1.0)
    with pytest.raises(NotFoundError, match="and 12 more"):
        resolve(parse_reference("zebra"), records=records)


def test_a_name_with_a_version_is_there(records):
    require_name("digits", records=records)
    with pytest.raises(NotFoundError, match="digits"):
        require_name("digitz", records=records)
