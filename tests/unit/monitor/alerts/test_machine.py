from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.alert import AlertPhase, Signal, fingerprint
from fairlead.monitor.alerts.machine import FORGET_S, changed, firing, step, to_keep

LABELS = {"alertname": "Drift", "model": "digits", "subject": "age"}
KEY = fingerprint(LABELS)


def signal(value: float = 1.0, *, for_s: float = 60.0, keep_s: float = 120.0) -> Signal:
    return Signal(LABELS, {"summary": "it moved"}, value, for_s, keep_s)


def phases(looks: list[tuple[float, bool]], **patience: float) -> list[str]:
    alerts, found = {}, []
    for at, holds in looks:
        alerts = step(alerts, [signal(**patience)] if holds else [], at)
        found.append(alerts[KEY].phase.value if KEY in alerts else "-")
    return found


def test_an_alert_fires_when_its_condition_has_lasted() -> None:
    assert phases([(0, True), (30, True), (60, True), (90, True)]) == ["pending", "pending", "firing", "firing"]


def test_a_gap_begins_the_wait_anew() -> None:
    assert phases([(0, True), (50, False), (70, True), (110, True), (130, True)]) == ["pending", "-", "pending", "pending", "firing"]


def test_without_patience_it_fires_at_once() -> None:
    assert phases([(0, True)], for_s=0.0) == ["firing"]


def test_a_number_that_dances_around_its_bound_rings_one_bell() -> None:
    looks = [(at, at % 20 == 0) for at in range(0, 400, 10)]
    assert set(phases(looks, for_s=0.0, keep_s=60.0)) == {"firing"}


def test_an_alert_ends_after_its_condition_has_been_gone_for_long() -> None:
    looks = [(0, True), (10, False), (100, False), (130, False), (130 + FORGET_S, False)]
    assert phases(looks, for_s=0.0, keep_s=120.0) == ["firing", "firing", "firing", "resolved", "-"]


def test_what_ended_and_comes_back_fires_anew() -> None:
    alerts = step({}, [signal(for_s=0.0, keep_s=0.0)], 0.0)
    alerts = step(alerts, [], 10.0)
    assert alerts[KEY].phase is AlertPhase.RESOLVED
    alerts = step(alerts, [signal(for_s=0.0)], 20.0)
    assert (alerts[KEY].phase, alerts[KEY].fired_at, alerts[KEY].resolved_at) == (AlertPhase.FIRING, 20.0, 0.0)


def test_what_cannot_be_evaluated_changes_nothing() -> None:
    alerts = step({}, [signal(for_s=0.0, keep_s=0.0)], 0.0)
    assert step(alerts, [], 1000.0, is_known=lambda _: False) == alerts


def test_the_same_look_twice_changes_nothing() -> None:
    once = step({}, [signal(for_s=0.0)], 5.0)
    assert step(once, [signal(for_s=0.0)], 5.0) == once


def test_a_clock_that_jumps_ahead_fires_nothing_that_was_not_seen_again() -> None:
    assert phases([(0, True), (1e9, True), (1e9 + 30, True), (1e9 + 60, True)]) == ["pending", "pending", "pending", "firing"]


def test_a_clock_that_was_set_back_makes_nothing_wait_for_ever() -> None:
    assert phases([(1e6, True), (0, True), (60, True)]) == ["pending", "pending", "firing"]
    looks = [(1e6, True), (1e6 + 1, False), (10, False), (140, False)]
    assert phases(looks, for_s=0.0) == ["firing", "firing", "firing", "resolved"]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=40))
def test_an_alert_never_fires_unless_its_condition_held_at_two_looks_that_far_apart(looks: list[tuple[float, bool]]) -> None:
    alerts: dict = {}
    held_since: float | None = None
    for at, holds in sorted(looks):
        alerts = step(alerts, [signal()] if holds else [], at)
        held_since = (at if held_since is None else held_since) if holds else None
        alert = alerts.get(KEY)
        if alert is not None and alert.phase is AlertPhase.FIRING and alert.fired_at == at:
            assert held_since is not None
            assert at - held_since >= 60.0 or alert.for_s == 0.0


def test_who_is_told_of_a_change_is_told_of_phases_and_of_what_is_new() -> None:
    before = step({}, [signal()], 0.0)
    after = step(before, [signal(2.0)], 60.0)
    assert [alert.phase for alert in changed(before, after)] == [AlertPhase.FIRING]
    assert not changed(after, step(after, [signal(3.0)], 70.0))
    assert [alert.name for alert in firing(after.values())] == ["Drift"]


def test_another_number_alone_is_not_written_down() -> None:
    first = step({}, [signal(1.0, for_s=0.0)], 0.0)
    second = step(first, [signal(2.0, for_s=0.0)], 10.0)
    assert not to_keep(first[KEY], second[KEY])
    assert to_keep(None, first[KEY])
    assert to_keep(second[KEY], step(second, [], 20.0)[KEY])
