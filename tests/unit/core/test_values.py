"""Laws of the small values: manifests, lineage, versions, verdicts, datasets, catalogs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.catalog import Catalog, Variant
from fairlead.core.dataset import Dataset
from fairlead.core.lineage import Lineage, Step
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.target import Machine
from fairlead.core.verdict import Check, Parity, Verdict
from fairlead.core.version import check_name, parse_reference
from fairlead.errors import InputError, MissingExtraError, SpecError, UnsupportedError

digests = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
entries = st.lists(st.tuples(st.text("abc.", min_size=1, max_size=3), st.integers(0, 9), digests), unique_by=lambda entry: entry[0])


def manifest(listed: list[tuple[str, int, str]]) -> Manifest:
    return Manifest(tuple(FileEntry(*entry) for entry in sorted(listed)))


@given(entries, entries)
def test_manifests_have_one_digest_exactly_where_they_list_the_same(one: list, other: list) -> None:
    assert (manifest(one).digest == manifest(other).digest) == (sorted(one) == sorted(other))


def test_a_manifest_is_in_order_and_lists_each_file_once() -> None:
    a, b = FileEntry("a", 1, "0" * 64), FileEntry("b", 1, "0" * 64)
    for files in ((b, a), (a, a)):
        with pytest.raises(InputError, match="once"):
            Manifest(files)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "../" + "0" * 61])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(InputError):
        FileEntry("a", 1, digest)


@pytest.mark.parametrize("name", ["../a", "a/b", ".hidden", "", "a\0b", "a" * 129, "con:1"])
def test_a_name_that_could_leave_a_folder_is_not_bare(name: str) -> None:
    assert not Manifest((FileEntry(name, 0, "0" * 64),)).is_bare


def test_a_lineage_breaks_where_a_digest_does_not_follow() -> None:
    first, second = Step("ingest", "t", "a", "b"), Step("convert", "t", "b", "c")
    assert Lineage("a", "m.h5", (first, second)).is_unbroken()
    assert not Lineage("a", "m.h5", (second, first)).is_unbroken()
    assert not Lineage("x", "m.h5", (first, second)).is_unbroken()


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,127}", fullmatch=True))
def test_every_name_of_the_rule_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "a b", ".a", "-a", "a" * 129, "é", "a\n", "ａ", "%2e%2e"])
def test_every_other_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError):
        check_name(name)


def test_references_name_a_version_by_number_or_alias() -> None:
    assert parse_reference("digits").number is None
    assert parse_reference("digits:3").number == 3
    assert parse_reference("digits@production").alias == "production"


@pytest.mark.parametrize("text", ["digits:0", "digits:-1", "digits:01", "digits:x", "digits:", "digits@", "digits@A", "digits:1@a", "a:٣"])
def test_references_to_nothing_are_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_reference(text)


def verdict(*met: bool) -> Verdict:
    parity = Parity(1, 0, (), None, {}, is_deterministic=True, tolerance=1e-5)
    checks = tuple(Check(str(number), is_met, 0.0, "<= 0") for number, is_met in enumerate(met))
    return Verdict("c", "e", "r", checks, parity, (), (), 1, 1, 1, "", "", "", 1, 0, Machine("s", "p", 1, 1))


@given(st.lists(st.booleans(), max_size=6))
def test_a_verdict_is_green_exactly_where_every_check_is_met(met: list[bool]) -> None:
    assert verdict(*met).is_green == all(met)
    assert len(verdict(*met).failures) == met.count(False)


def test_a_part_of_a_dataset_keeps_rows_and_answers_together() -> None:
    whole = Dataset({"x": np.arange(10).reshape(5, 2)}, np.arange(5), "d", "text")
    part = whole.take(1, 3)
    assert part.rows == 2
    assert part.target is not None
    assert (part.inputs["x"][:, 0] // 2).tolist() == part.target.tolist() == [1, 2]


CATALOG = Catalog("engine", "fairlead.none", {"json": Variant("json:dumps"), "gone": Variant("no_such_library:run", extra="keras")})


def test_a_variant_is_imported_by_name() -> None:
    assert CATALOG.load("json")([1]) == "[1]"


def test_an_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedError) as caught:
        CATALOG.load("other")
    assert "json, gone" in caught.value.hint


def test_a_variant_whose_library_is_missing_says_how_to_install_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        CATALOG.load("gone")
    assert "pip install 'fairlead[keras]'" in caught.value.hint
