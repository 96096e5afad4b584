"""The exam that every RecordStore sits: numbering, immutability, compare-and-set, durability across openings, threads and processes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from record_stores import manifest, reopener

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.errors import ConflictError, InputError, NotFoundError, SpecError
from fairlead.stores.sqlite_records import SqliteRecords
from memory_records import MemoryRecords


def test_an_empty_store_knows_nothing(records):
    assert (records.names(), records.versions("digits"), records.latest("digits")) == ((), (), None)
    assert (dict(records.aliases("digits")), records.alias_history("digits", "production"), records.sequence()) == ({}, (), 0)


def test_versions_are_numbered_from_one_for_each_name(records):
    numbers = [records.add_version(name, manifest(str(i)), 1.0 + i).number for i, name in enumerate(["a", "b", "a", "a", "b"])]
    assert numbers == [1, 1, 2, 3, 2]
    assert records.names() == ("a", "b")
    assert [version.number for version in records.versions("a")] == [1, 2, 3]


def test_a_version_comes_back_as_it_was_added(records, reopen):
    files = tuple(FileEntry(name, size, f"{size:064x}") for name, size in [("a.json", 0), ("model.onnx", 2**40)])
    added = records.add_version("digits", Manifest(files), 1_763_800_000.125)
    assert added == Version("digits", 1, Manifest(files), 1_763_800_000.125)
    again = reopen()
    assert again.version("digits", 1) == again.latest("digits") == again.versions("digits")[0] == added


def test_equal_content_may_be_added_twice(records):
    assert [records.add_version("digits", manifest(), 1.0).number for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("name", ["", "Digits", "../digits", "digits/1", "a" * 129, "digits\n", "ä"])
def test_a_name_that_is_not_a_name_is_refused(records, name):
    with pytest.raises(SpecError):
        records.add_version(name, manifest(), 1.0)
    assert records.names() == ()


@pytest.mark.parametrize("number", [0, -1, 4, 10**9])
def test_an_unknown_version_is_refused_and_the_known_are_said(records, number):
    for _ in range(3):
        records.add_version("digits", manifest(), 1.0)
    with pytest.raises(NotFoundError, match=r"versions 1 to 3"):
        records.version("digits", number)
    with pytest.raises(NotFoundError):
        records.move_alias("digits", "production", number, expected=0, moved_at=1.0, reason="deploy")
    assert dict(records.aliases("digits")) == {}


def test_an_unknown_name_is_refused(records):
    with pytest.raises(NotFoundError):
        records.version("digits", 1)


def test_an_alias_moves_only_from_where_it_is_expected(records):
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    first = records.move_alias("digits", "production", 1, expected=0, moved_at=5.0, reason="deploy")
    with pytest.raises(ConflictError, match="points at version 1"):
        records.move_alias("digits", "production", 2, expected=0, moved_at=6.0, reason="deploy")
    second = records.move_alias("digits", "production", 2, expected=1, moved_at=7.0, reason="promote")
    assert (first.number, first.previous, second.number, second.previous) == (1, 0, 2, 1)
    assert first.sequence < second.sequence
    assert records.alias_history("digits", "production") == (first, second)
    assert dict(records.aliases("digits")) == {"production": 2}


def test_who_moved_an_alias_is_kept_and_told(records, reopen):
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    moved = records.move_alias("digits", "production", 1, expected=0, moved_at=5.0, reason="deploy", author="ann")
    nobody = records.move_alias("digits", "production", 2, expected=1, moved_at=6.0, reason="promote")
    assert reopen().alias_history("digits", "production") == (moved, nobody)
    assert (moved.author, nobody.author) == ("ann", "")
    assert [change.detail["author"] for change in records.changes(0) if change.kind == "alias.moved"] == ["ann", ""]
    for author in (" ", "x" * 1001, "a\0b"):
        with pytest.raises(InputError):
            records.move_alias("digits", "production", 1, expected=2, moved_at=7.0, reason="promote", author=author)
    assert dict(records.aliases("digits")) == {"production": 2}


def test_a_version_is_retired_only_if_nothing_changed_since_one_looked(records):
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    seen = records.sequence()
    records.put_fact("release", "digits", "1", expected=0, at=1.0, author="ann")
    with pytest.raises(ConflictError, match="changed meanwhile"):
        records.retire_version("digits", 1, at=1.0, reason="old", after=seen)
    assert records.retired("digits") == ()
    records.put_report("server", "a", "1", 1.0)  # what is said without changing anything does not count
    records.retire_version("digits", 1, at=1.0, reason="old", after=records.sequence())
    assert [version.number for version in records.versions("digits")] == [2]


def test_an_alias_that_came_back_meanwhile_is_told_from_one_that_stayed(records):
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    first = records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy", after=0)
    records.move_alias("digits", "production", 2, expected=1, moved_at=1.0, reason="promote", after=first.sequence)
    back = records.move_alias("digits", "production", 1, expected=2, moved_at=1.0, reason="rollback")
    for after in (0, first.sequence, back.sequence + 1):
        with pytest.raises(ConflictError, match="meanwhile"):
            records.move_alias("digits", "production", 2, expected=1, moved_at=1.0, reason="promote", after=after)
    assert records.move_alias("digits", "production", 2, expected=1, moved_at=1.0, reason="promote", after=back.sequence).number == 2


def test_aliases_of_names_do_not_touch_each_other(records):
    for name in ("a", "b"):
        records.add_version(name, manifest(), 1.0)
    records.move_alias("a", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    records.move_alias("a", "staging", 1, expected=0, moved_at=1.0, reason="deploy")
    assert (dict(records.aliases("a")), dict(records.aliases("b"))) == ({"production": 1, "staging": 1}, {})
    assert records.alias_history("b", "production") == ()


@pytest.mark.parametrize("alias", ["", "Production", "a b", "1", "production\n", "a" * 65])
def test_an_alias_that_is_not_an_alias_is_refused(records, alias):
    records.add_version("digits", manifest(), 1.0)
    with pytest.raises(SpecError):
        records.move_alias("digits", alias, 1, expected=0, moved_at=1.0, reason="deploy")


def test_the_sequence_grows_with_every_change_and_with_nothing_else(records):
    seen = [records.sequence()]
    records.add_version("digits", manifest(), 1.0)
    seen.append(records.sequence())
    move = records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    seen.append(records.sequence())
    assert seen == sorted(set(seen))
    assert move.sequence == seen[-1]
    with pytest.raises(ConflictError):
        records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    records.versions("digits")
    assert records.sequence() == seen[-1]


def test_order_follows_the_sequence_even_where_clocks_jump_back(records):
    for at in (1e9, -5.0, 4e9):
        version = records.add_version("digits", manifest(), at)
        records.move_alias("digits", "production", version.number, expected=version.number - 1, moved_at=at, reason="deploy")
    assert [move.number for move in records.alias_history("digits", "production")] == [1, 2, 3]


def test_writers_in_many_threads_lose_nothing(records):
    numbers: list[int] = []

    def write() -> None:
        numbers.extend(records.add_version("digits", manifest(), 1.0).number for _ in range(10))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 81))


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROUNDS, PROMOTERS = 12, 16
# The processes are forked from one small one, so that sixteen need not import the same.
PROMOTERS_CODE = """
import os, sys
from pathlib import Path
from fairlead.errors import ConflictError
from fairlead.stores.sqlite_records import SqliteRecords
path, rounds, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
starts = [os.pipe() for _ in range(count)]
answers, answer = os.pipe()
for me in range(count):
    if os.fork() == 0:
        records = SqliteRecords(path)
        for turn in range(rounds):
            os.read(starts[me][0], 1)
            try:
                records.move_alias("digits", "production", 1 + turn % 2, expected=(2 - turn % 2) * (turn > 0), moved_at=1.0, reason=str(me))
                os.write(answer, b"W")
            except ConflictError:
                os.write(answer, b"L")
        os._exit(0)
for turn in range(rounds):
    for _, start in starts:
        os.write(start, b"!")
    got = b""
    while len(got) < count:
        got += os.read(answers, count)
    print(got.decode(), flush=True)
"""


def run_code(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_of_sixteen_processes_that_promote_at_once_exactly_one_wins(tmp_path):
    records = SqliteRecords(tmp_path / "registry.sqlite")
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    rounds = run_code(PROMOTERS_CODE, tmp_path / "registry.sqlite", ROUNDS, PROMOTERS).split()
    assert len(rounds) == ROUNDS
    assert {"".join(sorted(answers)) for answers in rounds} == {"L" * (PROMOTERS - 1) + "W"}
    history = records.alias_history("digits", "production")
    assert len(history) == ROUNDS
    assert all(later.previous == earlier.number for earlier, later in itertools.pairwise(history))
    assert records.check() == ()


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_of_promoters_in_two_servers_exactly_one_wins_each_round(store, tmp_path, request):
    place = tmp_path if store == "sqlite" else request.getfixturevalue("postgres").url("promoters")
    command = [sys.executable, BENCHMARKS / "reliability" / "promoters.py", "--at", place, "--rounds", "10", "--json"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["one winner"], found["moves"], found["is_linear"]) == (10, 10, True)


def test_promoters_that_do_not_compare_are_caught(tmp_path):
    """Positive control: with compare-and-set taken out, more than one wins."""
    command = [sys.executable, BENCHMARKS / "reliability" / "promoters.py", "--at", tmp_path, "--rounds", "5", "--json", "--planted-fault"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert json.loads(result.stdout)["moves"] > 5


OPENERS_CODE = """
import os, sys
from pathlib import Path
from fairlead.stores.sqlite_records import SqliteRecords
for _ in range(8):
    if os.fork() == 0:
        SqliteRecords(Path(sys.argv[1]))
        os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(8)))
"""


def test_processes_that_open_a_new_registry_at_once_all_can(tmp_path):
    run_code(OPENERS_CODE, tmp_path / "new" / "registry.sqlite")
    assert SqliteRecords(tmp_path / "new" / "registry.sqlite").check() == ()


names = st.sampled_from(["a", "b"])
aliases = st.sampled_from(["production", "staging"])


class RecordStoreMachine(RuleBasedStateMachine):
    """Any sequence of calls leaves the store as the fake is, and what was added never changes."""

    kind = "memory"
    request: pytest.FixtureRequest

    @initialize()
    def begin(self) -> None:
        self.place = ExitStack()
        # Syncs are free in memory.
        folder = self.place.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.reopen = self.place.enter_context(reopener(self.kind, Path(folder), self.request))
        self.store, self.model = self.reopen(), MemoryRecords()
        self.seen: dict[tuple[str, int], Version] = {}
        self.time = 0.0

    @rule(name=names, content=st.text(max_size=3))
    def add(self, name: str, content: str) -> None:
        self.time += 1
        added = self.store.add_version(name, manifest(content), self.time)
        assert added == self.model.add_version(name, manifest(content), self.time)
        self.seen[name, added.number] = added

    @rule(name=names, alias=aliases, number=st.integers(0, 4), expected=st.integers(0, 3), is_right=st.booleans())
    def move(self, name: str, alias: str, number: int, expected: int, is_right: bool) -> None:
        if is_right:
            expected = self.model.aliases(name).get(alias, 0)
        outcomes = []
        for store in (self.store, self.model):
            try:
                outcomes.append(store.move_alias(name, alias, number, expected=expected, moved_at=self.time, reason="promote"))
            except (NotFoundError, ConflictError) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]

    @rule()
    def open_again(self) -> None:
        self.store = self.reopen()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.names() == self.model.names()
        assert self.store.sequence() == self.model.sequence()
        for name, alias in itertools.product("ab", ["production", "staging"]):
            assert self.store.alias_history(name, alias) == self.model.alias_history(name, alias)
            assert dict(self.store.aliases(name)) == dict(self.model.aliases(name))
        for (name, number), version in self.seen.items():
            assert self.store.version(name, number) == version

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.place.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_sequence_of_calls_leaves_what_the_plain_words_say(kind, request):
    machine = type("Machine", (RecordStoreMachine,), {"kind": kind, "request": request})
    count = 24 * int(os.environ.get("FAIRLEAD_EXAMPLES", "25")) // 100
    run_state_machine_as_test(machine, settings=settings(max_examples=max(count, 2), stateful_step_count=20, deadline=None))


entries = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=6), st.tuples(st.integers(0, 2**50), st.binary(max_size=3)), max_size=4
)


def listed(files: dict[str, tuple[int, bytes]]) -> Manifest:
    return Manifest(tuple(FileEntry(name, size, hashlib.sha256(data).hexdigest()) for name, (size, data) in sorted(files.items())))


@given(entries, entries)
def test_manifests_have_equal_digests_exactly_where_they_list_the_same(left, right):
    assert (listed(left).digest == listed(right).digest) == (left == right)
    assert listed(dict(reversed(left.items()))) == listed(left)
