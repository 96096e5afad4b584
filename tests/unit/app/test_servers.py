from __future__ import annotations

import dataclasses

from fairlead.app.servers import BEAT, SILENT, Roll, last_heard, wait_for_servers
from fairlead.core.heartbeat import Applied, ServerBeat
from fairlead.stores.document import dump
from memory_records import MemoryRecords

BEATING = ServerBeat("s", "h", 1, "http://s", "production", "0", 0.0, 1, 1, {"pets": Applied(1)})


def test_a_server_lives_while_it_goes_on_saying_so_whatever_its_clock_says():
    records, beat = MemoryRecords(), BEATING
    now = [1000.0]
    roll = Roll(records, lambda: 5e8, lambda: now[0])
    records.put_report(BEAT, "s", dump(beat).decode(), 4e9)  # a clock that goes a century wrong
    assert (roll.call(), roll.is_sure) == ((), False)
    records.put_report(BEAT, "s", dump(dataclasses.replace(beat, count=2)).decode(), 4e9)
    assert [item.count for item in roll.call()] == [2]
    assert roll.is_sure
    now[0] += 6.0
    assert roll.call() == ()


def test_a_silent_server_is_looked_for_no_more_and_believed_for_an_hour():
    records, now, clock = MemoryRecords(), [1000.0], [5e8]
    records.put_report(BEAT, "s", dump(BEATING).decode(), clock[0])
    roll = Roll(records, lambda: clock[0], lambda: now[0])
    assert [item.id for item in roll.call()] == ["s"]
    for seconds, kinds in ((55.0, {BEAT}), (10.0, {SILENT}), (3500.0, {SILENT}), (200.0, set())):
        now[0], clock[0] = now[0] + seconds, clock[0] + seconds
        roll.call()
        roll.retire_silent()
        assert {report.kind for kind in (BEAT, SILENT) for report in records.reports(kind)} == kinds
        assert [beat.id for beat in last_heard(records, clock[0])] == ["s"] * len(kinds)
    assert (roll.call(), roll.is_sure) == ((), True)


def test_what_nobody_has_heard_of_for_an_hour_is_not_believed_though_no_server_took_it_away():
    records = MemoryRecords()
    records.put_report(BEAT, "s", dump(BEATING).decode(), 5e8)
    assert [beat.id for beat in last_heard(records, 5e8 + 3000.0)] == ["s"]
    assert last_heard(records, 5e8 + 3000.0, but={"s"}) == ()
    assert last_heard(records, 5e8 + 3700.0) == ()


def test_one_that_ended_long_ago_is_believed_to_be_dead_after_the_time_of_a_beat():
    records, beat = MemoryRecords(), BEATING
    now = [1000.0]
    records.put_report(BEAT, "s", dump(beat).decode(), 10.0)
    records.put_report(BEAT, "t", '{"id": 3}', 10.0)
    roll = Roll(records, lambda: 500.0, lambda: now[0])
    assert (roll.call(), roll.is_sure) == ((), False)
    now[0] += 2.0
    assert (roll.call(), roll.is_sure) == ((), True)


def test_who_has_not_followed_in_time_is_named_and_who_cannot_is_not_waited_for():
    records = MemoryRecords()
    records.put_report(BEAT, "s", dump(BEATING).decode(), 100.0)
    followed = wait_for_servers("pets", 2, records=records, now=lambda: 100.0, wait_s=0.1)
    assert ([beat.id for beat in followed.behind], followed.seconds >= 0.1) == (["s"], True)
    assert wait_for_servers("pets", 1, records=records, now=lambda: 100.0, wait_s=60.0).behind == ()
    broken = dataclasses.replace(BEATING, applied={"pets": Applied(1, problem="pets:2 is damaged", has_failed=True)})
    records.put_report(BEAT, "s", dump(broken).decode(), 100.0)
    assert wait_for_servers("pets", 1, records=records, now=lambda: 100.0, wait_s=60.0).behind == (broken,)
