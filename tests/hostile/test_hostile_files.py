"""Bad model files through the ingest door: each is refused with one clear error, and its canary stays silent.

The positive control runs the same file through the raw library in a throw-away process, where the canary does appear.
"""

from __future__ import annotations

import pytest
from controls import fired
from corpus import all_cases

from fairlead.errors import FairleadError, InputError, SandboxError
from fairlead.ingest.inspection import inspect_source
from fairlead.ingest.stage import ingest

EVERY = all_cases()
ALL = [case for case in EVERY if case.is_possible]
INSPECTED = [case for case in ALL if case.door == "inspect"]
# Through the whole door: what only reading shows, and the last case of each id and library.
READ = [*(case for case in ALL if case.door == "ingest"), *{(case.id, case.library): case for case in INSPECTED}.values()]


def refusal(case, path, sandbox):
    """Return why the file is not opened; fails where it would be."""
    try:
        inspection = inspect_source(path, sandbox=sandbox, options=case.options)
    except InputError as error:
        return f"{error.message} {error.hint}"
    unsafe = [finding.what for finding in inspection.findings if finding.is_unsafe]
    assert unsafe, "nothing unsafe was found"
    return "; ".join(unsafe)


@pytest.mark.parametrize("case", INSPECTED, ids=lambda case: case.label)
def test_a_bad_file_is_refused_before_anything_in_it_runs(case, tmp_path, sandbox):
    canary = tmp_path / "canary"
    path = case.build(tmp_path, canary)
    before = sorted(item.name for item in tmp_path.iterdir())
    assert refusal(case, path, sandbox).isprintable()
    assert not canary.exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == before


@pytest.mark.parametrize("case", READ, ids=lambda case: case.label)
def test_no_kind_of_bad_file_comes_through_the_door(case, tmp_path, sandbox):
    (tmp_path / "in").mkdir()
    path = case.build(tmp_path / "in", tmp_path / "canary")
    with pytest.raises(FairleadError) as caught:
        ingest(path, tmp_path / "work", sandbox=sandbox, options=case.options)
    assert isinstance(caught.value, InputError | SandboxError)
    assert not (tmp_path / "canary").exists()


@pytest.fixture(scope="module")
def alive(tmp_path_factory):
    return fired(ALL, tmp_path_factory.mktemp("controls"))


@pytest.mark.parametrize("case", [case for case in ALL if case.control], ids=lambda case: case.label)
def test_the_raw_library_fires_the_canary_of_the_same_file(case, alive):
    assert case.label in alive, "the attack is not real: it proves nothing"


def test_every_case_has_a_control_or_says_why_not():
    assert [case.label for case in EVERY if not case.control and not case.why_not] == []


def test_no_two_cases_have_one_name():
    labels = [case.label for case in EVERY]
    assert len(labels) == len(set(labels))
