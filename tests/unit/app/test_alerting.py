import json
import stat
import sys
from dataclasses import replace

import pytest
from alert_scene import Scene
from receivers import Receiver as Listener
from smtp_server import MailServer

from fairlead.app import alert_admin
from fairlead.app.alert_admin import NewReceiver, add_receiver, add_silence, overview, remove, try_out
from fairlead.app.alert_records import kept_alerts
from fairlead.app.alerting import Round, keep_watch
from fairlead.cli.alerts_text import overview_text, round_text
from fairlead.core.alert import AlertPhase, ReceiverKind, parse_matchers
from fairlead.core.finding import FindingKind
from fairlead.errors import DataError, ForbiddenError, NotFoundError, SpecError, StoreAwayError, UnavailableError


@pytest.fixture
def scene(house, tmp_path):
    return Scene(house, tmp_path)


@pytest.fixture
def listener():
    listening = Listener(200)
    yield listening
    listening.close()


def test_a_finding_fires_is_told_once_and_its_end_too(scene, listener) -> None:
    add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
    scene.found = (scene.finding(),)
    first = scene.look()
    assert [alert.phase for alert in first.changed] == [AlertPhase.FIRING]
    assert "firing" in round_text(first)
    scene.look(60.0)
    assert [message["status"] for message in listener.messages] == ["firing"]
    scene.found = ()
    scene.look(60.0)
    scene.look(1000.0)
    assert [message["status"] for message in listener.messages] == ["firing", "resolved"]
    assert listener.messages[0]["alerts"][0]["annotations"]["summary"] == "pets:1 is right in 70 %."
    (row,) = overview(scene.house).receivers
    assert (row.delivered, row.error) == (2, "")
    assert "?..." in row.target


def test_a_failing_receiver_is_tried_again_and_what_it_says_is_shown(scene) -> None:
    listener = Listener(500, 503, 200)
    try:
        added = add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
        scene.found = (scene.finding(),)
        assert scene.look().attempts[0].problem == "It answered 500."
        assert not scene.look(1.0).attempts
        assert overview(scene.house).receivers[0].error == "It answered 500."
        assert "500" in overview_text(overview(scene.house), is_all=False)
        scene.look(10.0)
        assert not scene.look(20.0).attempts[0].problem
        assert remove(added.id[:6], scene.house) == added.id
        assert not overview(scene.house).receivers
    finally:
        listener.close()


def test_between_two_rounds_who_did_not_take_it_is_told_again(scene) -> None:
    listener, rounds = Listener(500, 200), []
    try:
        add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
        scene.found = (scene.finding(),)
        scene.watch(rounds.append, every_s=300.0, waits=10)
    finally:
        listener.close()
    assert [message["status"] for message in listener.messages] == ["firing", "firing"]
    assert [bool(one.findings) for one in rounds] == [True, False], "there was one look, and one more attempt"


def test_a_receiver_that_hangs_is_waited_for_once_in_a_round(scene, monkeypatch) -> None:
    monkeypatch.setattr("fairlead.app.alert_delivery.TIMEOUT_S", 0.2)
    listener = Listener(200)
    listener.hold.set()
    try:
        add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
        scene.found = (scene.finding(), scene.finding(FindingKind.DRIFT, subject="age"))
        (attempt,) = scene.look().attempts
        assert "did not answer" in attempt.problem
    finally:
        listener.close()


def test_an_alert_that_ended_while_the_clock_was_ahead_is_not_forgotten(scene, listener) -> None:
    scene.found = (scene.finding(),)
    scene.look()
    scene.found = ()
    scene.look(60.0)
    assert scene.look(5000.0).alerts[0].phase is AlertPhase.RESOLVED
    add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
    assert scene.look(-4000.0).alerts[0].phase is AlertPhase.RESOLVED
    scene.found = (scene.finding(),)
    assert scene.look(1.0).alerts[0].phase is AlertPhase.FIRING


def test_nobody_who_looks_is_said_where_alerts_are_listed(scene) -> None:
    assert overview(scene.house).unwatched == ("pets",)
    assert "Nobody looks at pets (never yet)" in overview_text(overview(scene.house), is_all=False)
    scene.look()
    assert not overview(scene.house).unwatched
    scene.now += 2 * 86_400.0
    assert "Nobody looks at pets (last: " in overview_text(overview(scene.house), is_all=False)
    scene.watch(lambda _: None, every_s=60.0, waits=1)
    assert not overview(scene.house).unwatched
    scene.now += 1000.0
    assert overview(scene.house).unwatched == ("pets",), "a round each minute was promised"


def test_of_two_who_watch_one_tells(scene, listener) -> None:
    add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
    scene.found = (scene.finding(),)
    listener.hold.set()
    import threading

    others = [threading.Thread(target=scene.look) for _ in range(3)]
    for thread in others:
        thread.start()
    listener.let_go.set()
    for thread in others:
        thread.join()
    assert len(listener.got) == 1


def test_who_starts_anew_goes_on_where_the_other_stood(scene, listener) -> None:
    scene.found = (scene.finding(FindingKind.PROMISE, subject="p99_ms<=5"),)
    assert scene.look().alerts[0].phase is AlertPhase.PENDING
    assert scene.look(130.0).alerts[0].phase is AlertPhase.FIRING
    kept = kept_alerts(scene.house.records, "pets")
    assert [one.alert.fired_at for one in kept.values()] == [scene.now]
    before = [one.revision for one in kept.values()]
    scene.look(10.0)
    assert [one.revision for one in kept_alerts(scene.house.records).values()] == before, "nothing is written while nothing changes"


def test_what_cannot_be_evaluated_leaves_alerts_as_they_are_and_is_said(scene) -> None:
    scene.found = (scene.finding(),)
    scene.look()
    scene.problem = DataError("The log has no column 'x'.")
    after = scene.look(10_000.0)
    assert after.alerts[0].phase is AlertPhase.FIRING
    assert "no column 'x'" in after.problems[0]
    scene.problem = NotFoundError("Nothing was observed.")
    assert not scene.look(10.0).problems


def test_a_registry_that_is_away_is_waited_for(scene, monkeypatch) -> None:
    rounds: list[Round] = []
    monkeypatch.setattr("fairlead.app.alerting.kept_alerts", lambda *_: (_ for _ in ()).throw(StoreAwayError("It does not answer.")))
    keep_watch(scene.house, (), 1.0, rounds.append, is_stopped=lambda _: len(rounds) == 2)
    assert "registry is away" in rounds[0].problems[0]


def test_a_silence_hides_from_receivers_and_not_from_the_list(scene, listener) -> None:
    add_receiver(NewReceiver(ReceiverKind.WEBHOOK, listener.url), scene.house)
    silence = add_silence(parse_matchers(["model=pets"]), 3600.0, "we know", scene.house)
    scene.found = (scene.finding(),)
    scene.look()
    assert not listener.got
    (row,) = overview(scene.house).alerts
    assert row.silence == silence.id
    assert "silenced by" in overview_text(overview(scene.house), is_all=False)
    scene.look(3601.0)
    assert len(listener.got) == 1
    with pytest.raises(SpecError, match="hides everything"):
        add_silence((), 3600.0, "", scene.house)
    with pytest.raises(SpecError):
        add_silence(parse_matchers(["model=pets"]), 1e12, "", scene.house)


def test_mail_and_alertmanager_are_told_in_their_forms(scene, listener, tmp_path) -> None:
    with MailServer() as server:
        mail = NewReceiver(ReceiverKind.EMAIL, "ops@example.com", server=f"smtp://127.0.0.1:{server.port}", sender="me@example.com")
        add_receiver(mail, scene.house)
        add_receiver(NewReceiver(ReceiverKind.ALERTMANAGER, listener.url.partition("/hook")[0]), scene.house)
        scene.found = (scene.finding(),)
        assert not [attempt.problem for attempt in scene.look().attempts if attempt.problem]
        assert "Subject: [FIRING:1] QualityLoss pets" in server.letters[0]
        scene.look(61.0)
        assert len(server.letters) == 1
    assert [message[0]["labels"]["model"] for message in listener.messages] == ["pets", "pets"]


def test_a_command_gets_the_message_and_no_secret_of_ours(scene, tmp_path, monkeypatch) -> None:
    script, output = tmp_path / "page me.py", tmp_path / "out.json"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, sys\njson.dump([json.load(sys.stdin), dict(os.environ)], open({str(output)!r}, 'w'))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FAIRLEAD_OBSERVE_KEY", "planted-secret")
    add_receiver(NewReceiver(ReceiverKind.COMMAND, f"'{script}' --quiet"), scene.house)
    scene.found = (scene.finding(),)
    scene.look()
    message, environment = json.loads(output.read_text())
    assert message["alerts"][0]["labels"]["alertname"] == "QualityLoss"
    assert environment["FAIRLEAD_ALERT_STATUS"] == "firing"
    assert "planted-secret" not in json.dumps(environment)


def test_a_command_that_fails_or_hangs_is_said_and_ends(scene, monkeypatch) -> None:
    monkeypatch.setattr("fairlead.app.alert_delivery.COMMAND_S", 0.3)
    failing = add_receiver(NewReceiver(ReceiverKind.COMMAND, f"{sys.executable} -c \"import sys; sys.exit('no pager')\""), scene.house)
    hanging = add_receiver(NewReceiver(ReceiverKind.COMMAND, f'{sys.executable} -c "import time; time.sleep(60)"'), scene.house)
    with pytest.raises(UnavailableError, match="no pager"):
        try_out(failing.id, scene.house)
    with pytest.raises(UnavailableError, match="took longer"):
        try_out(hanging.id, scene.house)


def test_commands_of_a_shared_registry_are_not_started_unless_this_machine_says_so(scene) -> None:
    shared = replace(scene.house, settings=replace(scene.house.settings, registry="postgresql://x@y/z"))
    with pytest.raises(ForbiddenError, match="shared registry"):
        add_receiver(NewReceiver(ReceiverKind.COMMAND, "true"), shared)
    allowed = replace(shared, settings=replace(shared.settings, allow_alert_commands=True))
    assert add_receiver(NewReceiver(ReceiverKind.COMMAND, "true"), allowed).id


def test_receivers_that_cannot_be_are_refused_when_they_are_added(scene, tmp_path) -> None:
    closed = replace(scene.house, settings=replace(scene.house.settings, allow_private_webhooks=False))
    with pytest.raises(ForbiddenError):
        add_receiver(NewReceiver(ReceiverKind.WEBHOOK, "http://127.0.0.1:9/x"), closed)
    with pytest.raises(SpecError, match="no program"):
        add_receiver(NewReceiver(ReceiverKind.COMMAND, "/no/such/program"), scene.house)
    with pytest.raises(SpecError, match="password"):
        add_receiver(NewReceiver(ReceiverKind.EMAIL, "a@b.c", server="smtps://127.0.0.1", sender="a@b.c", user="me"), scene.house)
    with pytest.raises(NotFoundError):
        remove("feed", scene.house)


def test_a_password_is_kept_apart_and_gone_with_its_receiver(scene, tmp_path) -> None:
    (tmp_path / "password").write_text("planted-secret\n")
    new = NewReceiver(
        ReceiverKind.EMAIL, "a@b.c", server="smtps://127.0.0.1:1", sender="a@b.c", user="me", password_file=tmp_path / "password"
    )
    added = add_receiver(new, scene.house)
    assert "planted-secret" not in repr(overview(scene.house))
    assert [report.key for report in scene.house.records.reports("alert-secret")] == [added.id]
    alert_admin.remove(added.id, scene.house)
    assert not scene.house.records.reports("alert-secret")
