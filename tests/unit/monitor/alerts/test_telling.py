import json
from dataclasses import replace

from fairlead.core.alert import Alert, AlertPhase, Receiver, ReceiverKind, Silence, fingerprint, parse_matchers
from fairlead.core.finding import Advice, AdviceKind, Finding, FindingKind, Severity
from fairlead.monitor.alerts.forms import api_alerts, letter, webhook_message
from fairlead.monitor.alerts.rules import ABOUT, RULES, signals
from fairlead.monitor.alerts.telling import ALERT_LIMIT, Told, due, failed, succeeded


def alert(subject: str = "age", *, at: float = 100.0, ended: float = 0.0, name: str = "Drift", model: str = "digits") -> Alert:
    labels = {"alertname": name, "model": model, "version": "3", "subject": subject, "severity": "warning"}
    phase = AlertPhase.RESOLVED if ended else AlertPhase.FIRING
    annotations = {"summary": f"{subject} moved", "advice": "Look."}
    return Alert(labels, annotations, 1.0, phase, at, fired_at=at, resolved_at=ended)


def receiver(kind: ReceiverKind = ReceiverKind.WEBHOOK, *matchers: str, **more: object) -> Receiver:
    return replace(Receiver("r1", kind, "https://hooks.example", parse_matchers(matchers), "me", 0.0), **more)


def told(notices: list, before: dict[str, Told] | None = None, now: float = 200.0) -> dict[str, Told]:
    known = dict(before or {})
    for notice in notices:
        known[notice.key] = succeeded(known.get(notice.key, Told("r1", notice.key)), notice, now)
    return known


def test_alerts_of_one_model_come_together_and_of_two_apart() -> None:
    notices = due([alert("age"), alert("income"), alert("age", model="fraud")], receiver(), {}, (), 200.0)
    assert sorted(len(notice.alerts) for notice in notices) == [1, 2]


def test_nothing_is_told_twice_until_it_is_time_to_repeat() -> None:
    alerts = [alert()]
    known = told(due(alerts, receiver(), {}, (), 200.0))
    assert not due(alerts, receiver(), known, (), 300.0)
    assert due(alerts, receiver(), known, (), 200.0 + 4 * 3600.0)


def test_a_new_alert_in_a_group_is_told_at_once_with_the_others() -> None:
    known = told(due([alert("age")], receiver(), {}, (), 200.0))
    (notice,) = due([alert("age"), alert("income")], receiver(), known, (), 210.0)
    assert len(notice.alerts) == 2


def test_an_end_is_told_to_who_heard_of_the_beginning_and_only_once() -> None:
    ended = alert(ended=300.0)
    assert not due([ended], receiver(), {}, (), 310.0)
    known = told(due([alert()], receiver(), {}, (), 200.0))
    (notice,) = due([ended], receiver(), known, (), 310.0)
    assert not notice.is_firing
    assert not due([ended], receiver(), told([notice], known), (), 320.0)


def test_who_does_not_want_ends_is_told_when_it_fires_again() -> None:
    quiet = receiver(sends_resolved=False)
    known = told(due([alert()], quiet, {}, (), 200.0))
    assert not due([alert(ended=300.0)], quiet, known, (), 310.0)
    assert due([alert(at=400.0)], quiet, known, (), 410.0)


def test_what_is_pending_or_unwanted_is_told_nobody() -> None:
    pending = replace(alert(), phase=AlertPhase.PENDING)
    assert not due([pending], receiver(), {}, (), 200.0)
    assert not due([alert()], receiver(ReceiverKind.WEBHOOK, "model=other"), {}, (), 200.0)


def test_a_silence_hides_and_its_end_tells() -> None:
    silence = Silence("s", parse_matchers(["subject=age"]), 0.0, 300.0, "me")
    assert not due([alert()], receiver(), {}, [silence], 200.0)
    assert due([alert()], receiver(), {}, [silence], 300.0)


def test_a_failure_is_tried_again_later_and_says_what_stands_then() -> None:
    (notice,) = due([alert()], receiver(), {}, (), 200.0)
    once = failed(Told("r1", notice.key), "It answered 500.", 200.0)
    twice = failed(once, "It answered 500.", 210.0)
    assert 3.0 < once.next_at - 200.0 < 7.0 < twice.next_at - 210.0 < 13.0
    assert not due([alert()], receiver(), {notice.key: once}, (), 201.0)
    assert due([alert()], receiver(), {notice.key: once}, (), once.next_at)
    assert due([alert()], receiver(), {notice.key: once}, (), -1e9), "a clock that was set back makes nobody wait for years"


def test_a_receiver_may_ask_for_more_time() -> None:
    assert failed(Told("r1", "k"), "busy", 0.0, asked_s=600.0).next_at == 600.0


def test_an_alertmanager_is_told_every_minute_because_it_forgets() -> None:
    manager = receiver(ReceiverKind.ALERTMANAGER)
    known = told(due([alert()], manager, {}, (), 200.0))
    assert not due([alert()], manager, known, (), 259.0)
    assert due([alert()], manager, known, (), 260.0)


def test_a_flood_is_cut_counted_and_not_told_again_at_once() -> None:
    alerts = [alert(f"feature {number}") for number in range(ALERT_LIMIT + 20)]
    (notice,) = due(alerts, receiver(), {}, (), 200.0)
    assert (len(notice.alerts), notice.truncated) == (ALERT_LIMIT, 20)
    assert not due(alerts, receiver(), told([notice]), (), 210.0)


def test_the_webhook_message_is_that_of_alertmanager_version_4() -> None:
    (notice,) = due([alert("age"), alert("income")], receiver(), {}, (), 200.0)
    message = json.loads(webhook_message(notice, receiver(), url="https://look.example"))
    assert message["version"] == "4"
    assert message["status"] == "firing"
    assert message["receiver"] == "r1"
    assert message["groupLabels"] == {"alertname": "Drift", "model": "digits"}
    assert message["commonLabels"] == {"alertname": "Drift", "model": "digits", "version": "3", "severity": "warning"}
    assert message["commonAnnotations"] == {"advice": "Look."}
    one = message["alerts"][0]
    assert one["startsAt"] == "1970-01-01T00:01:40.000Z"
    assert one["endsAt"] == "0001-01-01T00:00:00Z"
    assert one["fingerprint"] == fingerprint(one["labels"])
    assert set(one) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


def test_an_alert_in_the_api_ends_by_itself_unless_it_is_sent_again() -> None:
    (notice,) = due([alert()], receiver(), {}, (), 200.0)
    (one,) = json.loads(api_alerts(notice, 200.0))
    assert one["endsAt"] == "1970-01-01T00:23:20.000Z"
    ended = replace(notice, alerts=(alert(ended=250.0),))
    assert json.loads(api_alerts(ended, 300.0))[0]["endsAt"] == "1970-01-01T00:04:10.000Z"


def test_a_letter_says_what_is_wrong_and_what_to_do_and_cannot_be_broken_by_what_it_repeats() -> None:
    (notice,) = due([alert("age\r\nBcc: all@example.com")], receiver(), {}, (), 200.0)
    subject, text = letter(notice)
    assert subject == "[FIRING:1] Drift digits"
    assert "\r" not in subject + text
    assert "\nBcc" not in text
    assert "What to do: Look." in text


def test_a_finding_becomes_the_alert_of_its_kind() -> None:
    advice = (Advice(AdviceKind.RETRAIN, "Train again."), Advice(AdviceKind.ROLL_BACK, "Go back."))
    finding = Finding(
        FindingKind.QUALITY, "digits", 3, "accuracy", Severity.WARNING, 0.8, 500, 0.0, 1.0, "It is worse.", 0.95, (0.7, 0.9), advice
    )
    (found,) = signals([finding])
    assert found.labels["alertname"] == "QualityLoss"
    assert found.labels["version"] == "3"
    assert found.annotations["advice"] == "Train again. Go back."
    assert not signals([replace(finding, severity=Severity.INFO)])


def test_every_kind_of_finding_has_a_rule_and_every_rule_a_sentence() -> None:
    assert {kind for rule in RULES for kind in rule.kinds} == set(FindingKind)
    assert {rule.name for rule in RULES} == set(ABOUT)
