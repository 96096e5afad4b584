"""The second half of the exam that every RecordStore sits: facts and their revisions, reports, retirements, traits, search, followers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from record_stores import manifest

from fairlead.core.fact import BODY_LIMIT_BYTES
from fairlead.core.query import Query, Term, parse_query
from fairlead.errors import ConflictError, InputError, NotFoundError, SpecError
from memory_records import MemoryRecords


def put(records, body, *, expected=0, kind="release", key="digits", at=1.0, author="ann"):
    return records.put_fact(kind, key, None if body is None else json.dumps(body), expected=expected, at=at, author=author)


def test_a_fact_is_replaced_only_at_the_revision_that_is_expected(records, reopen):
    first = put(records, {"step": 0})
    assert (first.revision, first.body, first.author, first.sequence) == (1, '{"step": 0}', "ann", records.sequence())
    for wrong in (0, 2):
        with pytest.raises(ConflictError, match="revision 1"):
            put(records, {"step": 1}, expected=wrong)
    second = put(records, {"step": 1}, expected=1, author="bob", at=0.5)
    assert reopen().fact("release", "digits") == second
    assert reopen().fact_history("release", "digits") == (first, second)
    assert first.sequence < second.sequence


def test_a_removed_fact_is_absent_and_its_past_is_kept(records):
    first = put(records, 1)
    gone = put(records, None, expected=1)
    assert (gone.revision, gone.body) == (2, None)
    assert (records.fact("release", "digits"), records.facts("release")) == (None, ())
    with pytest.raises(ConflictError, match=r"no revision|revision 0"):
        put(records, 2, expected=2)
    again = put(records, 3)
    assert records.fact_history("release", "digits") == (first, gone, again)
    assert again.revision == 3


def test_facts_are_found_by_kind_and_the_beginning_of_their_key(records):
    for key in ("digits:3/team", "digits:30/team", "digits:3/owner", "digits", "ä/\U0001f600"):
        put(records, key, kind="note", key=key)
    put(records, "other", kind="model", key="digits:3/team")
    assert [fact.key for fact in records.facts("note", "digits:3/")] == ["digits:3/owner", "digits:3/team"]
    assert [fact.key for fact in records.facts("note")] == ["digits", "digits:3/owner", "digits:3/team", "digits:30/team", "ä/\U0001f600"]
    assert [fact.kind for fact in records.facts("model")] == ["model"]
    assert (records.fact("note", "nobody"), records.fact_history("note", "nobody"), records.facts("nothing")) == (None, (), ())


@pytest.mark.parametrize(
    ("kind", "key", "body", "author", "error"),
    [
        ("Release", "digits", "1", "ann", SpecError),
        ("", "digits", "1", "ann", SpecError),
        ("release", "", "1", "ann", SpecError),
        ("release", "a\nb", "1", "ann", SpecError),
        ("release", "k" * 513, "1", "ann", SpecError),
        ("release", "digits", "not json", "ann", InputError),
        ("release", "digits", "NaN", "ann", InputError),
        ("release", "digits", "", "ann", InputError),
        ("release", "digits", json.dumps("x" * BODY_LIMIT_BYTES), "ann", InputError),
        ("release", "digits", '"\ud800"', "ann", InputError),
        ("release", "digits", "1", "", InputError),
        ("release", "digits", "1", "a\0b", InputError),
        ("release", "digits", "[" * 100_000, "ann", InputError),
    ],
)
def test_what_is_no_fact_is_refused_and_changes_nothing(records, kind, key, body, author, error):
    with pytest.raises(error):
        records.put_fact(kind, key, body, expected=0, at=1.0, author=author)
    assert records.sequence() == 0


def test_a_fact_of_a_megabyte_comes_back_as_it_was(records):
    body = json.dumps("ü\U0001f600\\u0000" + "x" * (BODY_LIMIT_BYTES - 40), ensure_ascii=False)
    records.put_fact("release", "digits", body, expected=0, at=1.0, author="ann")
    assert records.fact("release", "digits").body == body


def test_of_many_writers_of_one_fact_exactly_one_wins_each_revision(records):
    outcomes: list[str] = []

    def write(me: int) -> None:
        for revision in range(5):
            while (held := records.fact("release", "digits")) is None or held.revision <= revision:
                try:
                    put(records, me, expected=held.revision if held else 0)
                    outcomes.append("won")
                except ConflictError:
                    outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = records.fact_history("release", "digits")
    assert [fact.revision for fact in history] == list(range(1, outcomes.count("won") + 1))


def test_a_report_replaces_the_one_before_and_is_no_change(records, reopen):
    records.put_report("server", "b", "1", 1.0)
    records.put_report("server", "a", '{"beat": 1}', 2.0)
    records.put_report("server", "a", '{"beat": 2}', 1.5)
    records.put_report("evidence", "a", "3", 3.0)
    assert [(report.key, report.body, report.at) for report in reopen().reports("server")] == [("a", '{"beat": 2}', 1.5), ("b", "1", 1.0)]
    assert [report.key for report in records.reports("server", "b")] == ["b"]
    for _ in range(2):
        records.drop_report("server", "a")
    assert [report.key for report in records.reports("server")] == ["b"]
    assert (records.sequence(), records.changes(0)) == (0, ())
    for kind, key, body, error in (("Server", "a", "1", SpecError), ("server", "", "1", SpecError), ("server", "a", "{", InputError)):
        with pytest.raises(error):
            records.put_report(kind, key, body, 1.0)


def test_a_retired_version_is_gone_and_its_number_is_not_used_again(records, reopen):
    for content in "abc":
        records.add_version("digits", manifest(content), 1.0)
    digest = records.version("digits", 3).digest
    records.retire_version("digits", 3, at=86_400.0, reason="leaks", after=records.sequence())
    records.retire_version("digits", 1, at=5.0, reason="old")
    assert [version.number for version in reopen().versions("digits")] == [2]
    assert records.latest("digits").number == 2
    assert [(item.number, item.reason, item.at) for item in records.retired("digits")] == [(1, "old", 5.0), (3, "leaks", 86_400.0)]
    assert records.retired("digits")[1].digest == digest
    for call in (records.version, records.traits):
        with pytest.raises(NotFoundError, match=r"retired.*leaks"):
            call("digits", 3)
    with pytest.raises(NotFoundError, match="retired"):
        records.move_alias("digits", "production", 3, expected=0, moved_at=1.0, reason="deploy")
    with pytest.raises(NotFoundError, match="retired"):
        records.retire_version("digits", 3, at=1.0, reason="again")
    assert records.add_version("digits", manifest("d"), 1.0).number == 4


def test_a_name_all_of_whose_versions_are_retired_is_unknown_and_counts_on(records):
    records.add_version("digits", manifest(), 1.0)
    records.retire_version("digits", 1, at=1.0, reason="old")
    assert (records.names(), records.latest("digits"), records.versions("digits"), records.summaries()) == ((), None, (), ())
    assert records.add_version("digits", manifest(), 1.0).number == 2
    assert records.names() == ("digits",)


def test_a_version_that_an_alias_points_at_is_not_retired(records):
    for _ in range(2):
        records.add_version("digits", manifest(), 1.0)
    records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    before = records.sequence()
    with pytest.raises(ConflictError, match="points at"):
        records.retire_version("digits", 1, at=1.0, reason="old")
    assert (records.sequence(), records.retired("digits")) == (before, ())
    records.move_alias("digits", "production", 2, expected=1, moved_at=1.0, reason="promote")
    records.retire_version("digits", 1, at=1.0, reason="old")
    for number, reason in ((3, "unknown"), (2, "")):
        with pytest.raises((NotFoundError, ConflictError, InputError)):
            records.retire_version("digits", number, at=1.0, reason=reason)


def test_summaries_count_what_is_there(records):
    for name in ("b", "a", "a", "a"):
        records.add_version(name, manifest(), 1.0)
    records.retire_version("a", 1, at=1.0, reason="old")
    records.move_alias("a", "production", 2, expected=0, moved_at=1.0, reason="deploy")
    found = [(item.name, item.version_count, item.latest, dict(item.aliases)) for item in records.summaries()]
    assert found == [("a", 2, 3, {"production": 2}), ("b", 1, 1, {})]


def test_traits_are_fixed_and_tags_are_not(records, reopen):
    records.add_version("digits", manifest(), 1.0, {"framework": "XGBoost", "accuracy": 0.97, "size_bytes": 71_000})
    assert records.traits("digits", 1) == {"accuracy": 0.97, "framework": "XGBoost", "size_bytes": 71_000.0}
    before = records.sequence()
    records.add_traits("digits", 1, {"accuracy": 0.97, "engine": "trees"})
    with pytest.raises(ConflictError, match="accuracy"):
        records.add_traits("digits", 1, {"p99_ms": 5.0, "accuracy": 0.98})
    assert records.sequence() == before
    for value, expected in (("ml", 0), ("core", 1), (7, 2)):
        put(records, value, kind="tag", key="digits:1/team", expected=expected)
        assert reopen().traits("digits", 1)["tag:team"] == value
    put(records, None, kind="tag", key="digits:1/team", expected=3)
    assert reopen().traits("digits", 1) == {"accuracy": 0.97, "engine": "trees", "framework": "XGBoost", "size_bytes": 71_000.0}


@pytest.mark.parametrize(
    ("traits", "error"),
    [
        ({"alias": "x"}, SpecError),
        ({"tag:team": "x"}, SpecError),
        ({"Framework": "x"}, SpecError),
        ({"accuracy": float("nan")}, InputError),
        ({"accuracy": float("inf")}, InputError),
        ({"accuracy": True}, InputError),
        ({"framework": ""}, InputError),
        ({"framework": "a\0"}, InputError),
        ({"framework": "x" * 1001}, InputError),
    ],
)
def test_what_is_no_trait_is_refused(records, traits, error):
    with pytest.raises(error):
        records.add_version("digits", manifest(), 1.0, traits)
    assert records.names() == ()


@pytest.mark.parametrize(
    ("key", "body", "error"),
    [
        ("digits", '"x"', SpecError),
        ("digits:1/", '"x"', SpecError),
        ("digits:1/Team", '"x"', SpecError),
        ("digits:2/team", '"x"', NotFoundError),
    ]
    + [("digits:1/team", body, InputError) for body in ("{}", "true", "null", '""', "[1]")],
)
def test_what_is_no_tag_is_refused_and_changes_nothing(records, key, body, error):
    records.add_version("digits", manifest(), 1.0)
    with pytest.raises(error):
        records.put_fact("tag", key, body, expected=0, at=1.0, author="ann")
    assert (records.sequence(), records.facts("tag"), records.traits("digits", 1)) == (1, (), {})


DAY = 86_400.0


@pytest.fixture
def stocked(records):
    stock(records)
    return records


def stock(records) -> None:
    """Five versions with what a search can tell apart."""
    records.add_version("digits", manifest("1"), 1.0, {"framework": "keras", "accuracy": 0.91, "p99_ms": 2.5})
    records.add_version("digits", manifest("2"), 20_000 * DAY, {"framework": "XGBoost", "accuracy": 0.95, "passes": "prune+quantize"})
    records.add_version("digits_old", manifest("3"), 20_000 * DAY + 5, {"framework": "xgboost", "accuracy": 0.8, "build": "7"})
    records.add_version("churn", manifest("4"), 20_001 * DAY, {"framework": "sklearn", "build": 7})
    records.add_version("churn", manifest("5"), 3.0, {"accuracy": 0.99})
    records.retire_version("churn", 2, at=4.0, reason="wrong")
    records.move_alias("digits", "production", 2, expected=0, moved_at=1.0, reason="deploy")
    records.move_alias("churn", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    records.move_alias("digits", "staging", 2, expected=0, moved_at=1.0, reason="deploy")
    put(records, "ML_Team", kind="tag", key="digits:1/team")
    put(records, "live", kind="tag", key="churn:1/stage")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", "churn:1 digits:1 digits:2 digits_old:1"),
        ("framework:xgboost", "digits:2 digits_old:1"),
        ("framework=XGBOOST accuracy>0.9", "digits:2"),
        ("framework!=xgboost", "churn:1 digits:1"),
        ("accuracy>=0.91 accuracy<=0.95", "digits:1 digits:2"),
        ("accuracy<0.91", "digits_old:1"),
        ("accuracy=0.910", "digits:1"),
        ("accuracy!=0.91", "churn:1 digits:2 digits_old:1"),
        ("build:7", "churn:1 digits_old:1"),
        ("alias:production", "churn:1 digits:2"),
        ("alias!=production", "digits:1 digits_old:1"),
        ("alias:stag*", "digits:2"),
        ("name:dig*", "digits:1 digits:2 digits_old:1"),
        ("name:digits_*", "digits_old:1"),
        ("name:*_*", "digits_old:1"),
        ("name!=digits", "churn:1 digits_old:1"),
        ("number>1", "digits:2"),
        ("number:1 name=digits", "digits:1"),
        ("number!=1", "digits:2"),
        ("number>1.5", "digits:2"),
        ("created:2024-10-04", "digits:2 digits_old:1"),
        ("created>=2024-10-05", "churn:1"),
        ("created<=1970-01-01", "digits:1"),
        ("created<2", "digits:1"),
        ("tag:team", "digits:1"),
        ("tag!=team", "churn:1 digits:2 digits_old:1"),
        ("tag:team=ml_team", "digits:1"),
        ("tag:team:ml*", "digits:1"),
        ("stage:live", "churn:1"),
        ("passes:*quantize*", "digits:2"),
        ("passes:*quantizE", "digits:2"),
        ("gits", "digits:1 digits:2 digits_old:1"),
        ("nothing:there", ""),
        ("framework:%", ""),
        ("framework:x_boost", ""),
        ("framework:keras'--", ""),
    ],
)
def test_a_search_finds_what_holds(stocked, text, labels):
    assert [hit.label for hit in stocked.find(parse_query(text))] == labels.split()


def test_a_hit_says_what_is_known_of_the_version(stocked):
    (hit,) = stocked.find(parse_query("name:digits number:2"))
    assert (hit.created_at, hit.digest) == (20_000 * DAY, stocked.version("digits", 2).digest)
    assert hit.traits == {"accuracy": 0.95, "framework": "XGBoost", "passes": "prune+quantize"}
    assert hit.aliases == ("production", "staging")
    assert [item.label for item in stocked.find(Query(), limit=2)] == ["churn:1", "digits:1"]


keys = st.sampled_from(["framework", "accuracy", "build", "p99_ms", "name", "alias", "tag", "tag:team", "tag:stage", "number", "created"])
values = st.sampled_from(
    ["keras", "XGBOOST", "*ost", "x*t", "7", "0.91", "production", "*", "digits", "team", "ml_team", "m*", "l_ve", "1"]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(keys, st.sampled_from([":", "=", "!=", ">", "<=", ">=", "<"]), values), max_size=3))
def test_any_search_finds_what_the_plain_words_find(stocked_for_all, terms):
    try:
        query = Query(tuple(Term(*term) for term in terms))
    except SpecError:
        reject()
    assert stocked_for_all[0].find(query) == stocked_for_all[1].find(query)


@pytest.fixture
def stocked_for_all(stocked):
    model = MemoryRecords()
    stock(model)
    return stocked, model


def test_changes_are_told_in_order_with_what_happened(stocked, reopen):
    told = reopen().changes(0)
    assert [change.sequence for change in told] == list(range(1, stocked.sequence() + 1))
    assert [(change.kind, change.subject) for change in told[4:8]] == [
        ("version.created", "churn:2"),
        ("version.retired", "churn:2"),
        ("alias.moved", "digits@production"),
        ("alias.moved", "churn@production"),
    ]
    assert told[-1].subject == "tag/churn:1/stage"
    assert told[-1].detail == {"kind": "tag", "key": "churn:1/stage", "revision": 1, "author": "ann", "is_removed": False}
    assert told[6].detail == {"name": "digits", "alias": "production", "number": 2, "previous": 0, "reason": "deploy", "author": ""}
    assert told[5].detail == {"name": "churn", "number": 2, "reason": "wrong"}
    assert stocked.changes(3, limit=4) == told[3:7]
    assert stocked.changes(len(told)) == ()


CLOCKS = (1_795_000_000.0, 0.0, -5.0, 4_000_000_000.0, 1e11, 1_795_000_000.0, 1_794_996_400.0)


def test_clocks_that_jump_reorder_nothing(records):
    """R23: an hour and years back and ahead, 1970, beyond 2038 and beyond what a calendar holds."""
    for turn, at in enumerate(CLOCKS):
        number = records.add_version("digits", manifest(str(turn)), at).number
        records.move_alias("digits", "production", number, expected=number - 1, moved_at=at, reason="promote")
        put(records, turn, expected=turn, at=at)
        if number > 1:
            records.retire_version("digits", number - 1, at=at, reason="old")
    told = records.changes(0)
    assert [change.sequence for change in told] == list(range(1, len(told) + 1))
    assert [move.moved_at for move in records.alias_history("digits", "production")] == list(CLOCKS)
    assert [json.loads(fact.body) for fact in records.fact_history("release", "digits")] == list(range(len(CLOCKS)))
    assert [item.at for item in records.retired("digits")] == list(CLOCKS[1:])
    assert records.latest("digits").number == len(CLOCKS)
    with pytest.raises(NotFoundError, match="retired"):
        records.version("digits", 4)


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
def test_what_is_no_time_is_refused(records, at):
    records.add_version("digits", manifest(), 1.0)
    calls = (
        lambda: records.add_version("digits", manifest(), at),
        lambda: records.move_alias("digits", "production", 1, expected=0, moved_at=at, reason="deploy"),
        lambda: records.retire_version("digits", 1, at=at, reason="old"),
        lambda: put(records, 1, at=at),
        lambda: records.put_report("server", "a", "1", at),
    )
    for call in calls:
        with pytest.raises(InputError, match="not a time"):
            call()
    assert records.sequence() == 1


def test_who_waits_is_told_of_a_change_and_else_comes_back(records):
    began_at = time.monotonic()
    assert records.wait_for_change(0, 0.2) == 0
    assert time.monotonic() - began_at >= 0.2
    records.add_version("digits", manifest(), 1.0)
    assert records.wait_for_change(0, 60.0) == 1


def test_a_change_by_another_ends_the_wait(records, reopen: Callable):
    records.add_version("digits", manifest(), 1.0)
    told: list[int] = []
    waiting = threading.Thread(target=lambda: told.append(records.wait_for_change(1, 60.0)))
    waiting.start()
    reopen().move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    waiting.join(timeout=30.0)
    assert told == [2]
