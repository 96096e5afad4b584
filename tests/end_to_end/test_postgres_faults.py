"""PostgreSQL stopped, killed, hung, slow and cut off (R29): typed errors soon, nothing half done, recovery by itself, no connection left
over; and a server that follows the registry goes on answering.
"""

from __future__ import annotations

import hashlib
import itertools
import signal
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("pg8000", reason="the extra 'postgres' is not installed")
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import StoreAwayError
from fairlead.stores.postgres_records import PostgresRecords
from tcp_proxy import TcpProxy

MANIFEST = Manifest((FileEntry("model.onnx", 3, hashlib.sha256(b"abc").hexdigest()),))
_schemas = itertools.count(1)


@pytest.fixture
def schema():
    return f"faults_{next(_schemas)}"


@pytest.fixture
def proxy(postgres):
    with TcpProxy(("127.0.0.1", postgres.port)) as proxy:
        yield proxy


@pytest.fixture
def records(postgres, proxy, schema):
    """A registry behind the proxy whose calls may take a second."""
    records = PostgresRecords(postgres.url(schema, port=proxy.port), connect_limit_s=1.0, call_limit_s=1.0)
    records.add_version("digits", MANIFEST, 1.0)
    yield records
    records.close()


def until(call, limit_s=30.0):
    """Call until it does not raise StoreAwayError any more."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return call()
        except StoreAwayError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def away(call):
    with pytest.raises(StoreAwayError) as caught:
        call()
    assert "p@ss" not in str(caught.value)
    assert caught.value.hint


def open_count():
    return len(list(Path("/proc/self/fd").iterdir()))


def calls(records):
    return (records.sequence, lambda: records.add_version("digits", MANIFEST, 1.0), lambda: records.put_report("server", "a", "1", 1.0))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_was_stopped_is_said_to_be_away_and_found_again(postgres, records, how):
    postgres.stop(how)
    try:
        for call in calls(records):
            away(call)
    finally:
        postgres.start()
    before = records.sequence()
    assert records.add_version("digits", MANIFEST, 1.0).number == 2
    assert records.sequence() == before + 1
    assert len(records._database._idle.connections) <= 4


def test_a_server_that_hangs_ends_no_call_late_and_is_found_again(postgres, records):
    postgres.signal_all(signal.SIGSTOP)
    try:
        began_at = time.monotonic()
        for call in calls(records):
            away(call)
        assert time.monotonic() - began_at < 30  # three calls of a second or two, on a busy machine
    finally:
        postgres.signal_all(signal.SIGCONT)
    before = until(records.sequence)
    records.add_version("digits", MANIFEST, 1.0)
    assert records.sequence() > before


def test_a_slow_network_is_waited_for_within_the_limit(records, proxy):
    proxy.delay_s = 0.02
    assert records.add_version("digits", MANIFEST, 1.0).number == 2
    proxy.delay_s = 1.5
    away(records.sequence)
    proxy.delay_s = 0.0
    assert until(records.sequence) == 2


def test_connections_that_died_while_nobody_used_them_are_replaced_unseen(records, proxy):
    for _ in range(3):
        proxy.reset_all()
        assert records.latest("digits").number == 1
        assert records.add_version("churn", MANIFEST, 1.0).name == "churn"


def test_a_network_that_goes_silent_and_comes_back(records, proxy):
    proxy.is_silent = True
    away(records.sequence)
    proxy.is_silent = False
    assert until(records.sequence) == 1


def test_a_change_whose_confirmation_was_lost_is_said_to_be_unknown(postgres, records, proxy, schema):
    direct = PostgresRecords(postgres.url(schema))

    def cut_before(data: bytes) -> bool:
        return b"COMMIT\0" in data

    def cut_after(data: bytes) -> bool:
        if b"COMMIT\0" in data:  # the server gets it; its answer comes later than the client waits
            proxy.delay_s = 3.0
        return False

    for is_cut_before in (True, False):
        before = len(direct.versions("digits"))
        proxy.on_bytes = cut_before if is_cut_before else cut_after
        with pytest.raises(StoreAwayError, match="broke while a change was confirmed") as caught:
            records.add_version("digits", MANIFEST, 1.0)
        assert "not known" in caught.value.hint
        proxy.on_bytes = lambda data: False
        proxy.delay_s = 0.0
        deadline = time.monotonic() + 30
        while len(direct.versions("digits")) != before + (not is_cut_before):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert until(lambda: records.add_version("digits", MANIFEST, 1.0)).number == before + (not is_cut_before) + 1
    direct.close()


def test_a_writer_that_goes_silent_in_a_change_keeps_nobody_waiting_for_long(postgres, records, proxy, schema):
    patient = PostgresRecords(postgres.url(schema))

    def go_silent() -> None:
        with records._database.writing() as transaction:
            transaction.rows("SELECT 1")
            proxy.is_silent = True  # the server hears nothing more of this one, and ends its session after a second
            assert patient.add_version("digits", MANIFEST, 1.0).number == 2
            proxy.is_silent = False

    away(go_silent)
    patient.close()


def test_no_connection_is_left_over_after_many_failures(postgres, records, proxy):
    descriptors = open_count()
    for turn in range(20):
        proxy.reset_all()
        proxy.is_silent = turn % 5 == 0
        if proxy.is_silent:
            away(records.sequence)
            proxy.is_silent = False
        until(records.sequence)
    deadline = time.monotonic() + 30
    while postgres.connection_count() > 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert open_count() <= descriptors + 8  # the proxy has two ends of each


def test_followers_hear_of_changes_again_after_the_server_was_away(postgres, records):
    told: list[int] = []
    wanted = threading.Event()

    def follow() -> None:
        seen = 1
        while not wanted.is_set():
            try:
                seen = records.wait_for_change(seen, 0.2)
            except StoreAwayError:
                time.sleep(0.05)
                continue
            told.append(seen)

    follower = threading.Thread(target=follow)
    follower.start()
    postgres.stop()
    postgres.start()
    until(lambda: records.add_version("digits", MANIFEST, 1.0))
    deadline = time.monotonic() + 30
    while 2 not in told and time.monotonic() < deadline:
        time.sleep(0.02)
    wanted.set()
    follower.join()
    assert 2 in told
