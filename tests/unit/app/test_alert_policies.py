import json
import sys
from dataclasses import replace

import pytest
from alert_scene import Scene
from observed import add_proven
from registered import classifier

from fairlead.app.alert_admin import add_policy, overview
from fairlead.app.alert_policies import done
from fairlead.app.alerting import Round
from fairlead.app.release import rollback
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.cli.alerts_text import overview_text
from fairlead.core.alert import Policy, PolicyAction, parse_matchers
from fairlead.core.finding import FindingKind
from fairlead.core.release import ReleaseKind, ReleaseStep
from fairlead.errors import SpecError
from fairlead.register.aliases import promote


@pytest.fixture
def scene(house, tmp_path):
    return Scene(house, tmp_path)


def test_a_policy_takes_the_live_version_back_once(scene, tmp_path) -> None:
    first = scene.version
    second = add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    scene.version = second
    add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["alertname=QualityLoss"]), "", 0.0), scene.house)
    scene.found = (scene.finding(),)
    (acted,) = scene.look(10.0).acted
    assert acted.outcome == "Took pets back from version 2 to 1."
    assert scene.house.records.aliases("pets")["production"] == first.number
    assert not scene.look(10.0).acted
    promote("pets", second.number, alias="production", records=scene.house.records, clock=scene.house.clock)
    assert not scene.look(10.0).acted, "it pauses for a day"
    assert done(scene.house) == (acted,)
    assert "Took pets back" in overview_text(overview(scene.house), is_all=False)


def test_an_alert_about_a_version_that_is_not_live_takes_nothing_back(scene, tmp_path) -> None:
    scene.found = (scene.finding(),)
    scene.look()
    added = add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["alertname=Quality*"]), "", 0.0), scene.house)
    assert added.warning.startswith("QualityLoss of pets fires already")
    add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["model=pets"]), "", 0.0), scene.house)
    assert not scene.look(10.0).acted
    assert scene.house.records.aliases("pets")["production"] == 2


def test_two_alerts_at_once_are_acted_upon_once_also_after_the_pause(scene, tmp_path) -> None:
    add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    scene.version = add_proven(scene.house, "pets", classifier(tmp_path / "third.onnx", seed=3))
    add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["model=pets"]), "", 0.0, pause_s=60.0), scene.house)
    scene.found = (scene.finding(), scene.finding(FindingKind.DRIFT, subject="age"))
    assert [acted.outcome for acted in scene.look(10.0).acted] == ["Took pets back from version 3 to 2."]
    promote("pets", 3, alias="production", records=scene.house.records, clock=scene.house.clock)
    assert not scene.look(120.0).acted
    scene.found = (scene.finding(), scene.finding(FindingKind.DRIFT, subject="income"))
    assert len(scene.look(10.0).acted) == 1, "this one is new"


def test_while_another_version_takes_over_policies_wait(scene, tmp_path) -> None:
    scene.version = add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    third = add_proven(scene.house, "pets", classifier(tmp_path / "third.onnx", seed=3))
    promote("pets", 2, alias="production", records=scene.house.records, clock=scene.house.clock)
    begin(ReleaseRequest(ReleaseKind.CANARY, third.label, steps=(ReleaseStep(0.1),), min_step_s=60.0), scene.house)
    add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["model=pets"]), "", 0.0), scene.house)
    add_policy(Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command="true"), scene.house)
    scene.found = (scene.finding(),)
    assert not scene.look(10.0).acted
    rollback("pets", scene.house, wait_s=0.0)
    outcomes = {acted.action: acted.outcome for acted in scene.look(10.0).acted}
    assert outcomes[PolicyAction.ROLL_BACK].startswith("Took pets back from version 2 to "), "as it had just ended, it may go on"


def test_a_shadow_does_not_keep_the_live_version_from_being_taken_back(scene, tmp_path) -> None:
    scene.version = add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    begin(ReleaseRequest(ReleaseKind.SHADOW, "pets:1", steps=(ReleaseStep(shadow=1.0),), min_step_s=60.0), scene.house)
    add_policy(Policy("", PolicyAction.ROLL_BACK, parse_matchers(["model=pets"]), "", 0.0), scene.house)
    scene.found = (scene.finding(),)
    assert [acted.outcome for acted in scene.look(10.0).acted] == ["Took pets back from version 2 to 1."]


def test_a_policy_lets_the_bad_version_go_on_unseen(scene, tmp_path) -> None:
    bad = scene.version = add_proven(scene.house, "pets", classifier(tmp_path / "second.onnx", seed=2))
    add_policy(Policy("", PolicyAction.SHADOW, parse_matchers(["model=pets"]), "", 0.0), scene.house)
    scene.found = (scene.finding(),)
    (acted,) = scene.look(10.0).acted
    assert "answers unseen" in acted.outcome
    body = json.loads(scene.house.records.facts("release")[0].body)
    assert (body["kind"], body["live"], body["candidate"]) == ("shadow", 1, bad.number)


def test_policies_that_cannot_be_are_refused(scene) -> None:
    retrain = Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command="true", steps="50%,10%")
    with pytest.raises(SpecError):
        add_policy(retrain, scene.house)
    with pytest.raises(SpecError, match="no program"):
        add_policy(replace(retrain, command="/no/such/trainer", steps=""), scene.house)
    with pytest.raises(SpecError, match="no '/no/such/data'"):
        add_policy(replace(retrain, steps="", data="/no/such/data"), scene.house)


def test_training_that_fails_changes_nothing_and_is_said(scene) -> None:
    command = f"{sys.executable} -c \"import sys; sys.exit('no data today')\""
    add_policy(Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command=command), scene.house)
    scene.found = (scene.finding(),)
    (acted,) = scene.look(10.0).acted
    assert "no data today" in acted.problem
    assert len(scene.house.records.versions("pets")) == 1


def test_while_a_model_is_trained_alerts_are_looked_at(scene, tmp_path) -> None:
    command = f"{sys.executable} -c \"import time, os\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.02)\""
    add_policy(Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command=command), scene.house)
    scene.found = (scene.finding(),)
    rounds: list[Round] = []

    def tell(one: Round) -> None:
        rounds.append(one)
        if sum(bool(each.findings) for each in rounds) == 3:
            (tmp_path / "go").touch()

    scene.watch(tell, every_s=0.01, waits=5000, seconds=0.02, is_over=lambda: rounds[-1].acted)
    acted = [one for each in rounds for one in each.acted]
    assert [one.problem for one in acted] == ["Training wrote 0 files. It writes one model file to the folder FAIRLEAD_OUTPUT."]


def test_training_ends_with_the_process_that_started_it(scene) -> None:
    command = f'{sys.executable} -c "import time; time.sleep(600)"'
    add_policy(Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command=command), scene.house)
    scene.found = (scene.finding(),)
    scene.watch(lambda _: None, every_s=0.01, waits=5, seconds=0.1)
    (acted,) = done(scene.house)
    assert "ended with the process" in acted.problem


@pytest.mark.slow
def test_what_training_writes_is_proven_registered_and_waits_or_takes_over(scene, tmp_path) -> None:
    fresh, interface = classifier(tmp_path / "fresh.onnx", seed=9)
    plain = replace(interface, inputs=(replace(interface.inputs[0], columns=()),), labels=())
    live = scene.version = add_proven(scene.house, "pets", (classifier(tmp_path / "live.onnx", seed=8)[0], plain))
    script = tmp_path / "train.py"
    script.write_text(
        "import json, os, shutil\n"
        "alert = json.load(open(os.environ['FAIRLEAD_ALERT']))\n"
        "assert alert['labels']['model'] == os.environ['FAIRLEAD_MODEL'] == 'pets'\n"
        f"shutil.copy({str(fresh)!r}, os.environ['FAIRLEAD_OUTPUT'])\n"
    )
    add_policy(
        Policy("", PolicyAction.RETRAIN, parse_matchers(["model=pets"]), "", 0.0, command=f"{sys.executable} {script}", steps="10%,50%"),
        scene.house,
    )
    scene.found = (scene.finding(),)
    (acted,) = scene.look(10.0).acted
    assert acted.outcome == "Trained pets:3 in place of pets:2. It takes over by 10%,50%.", acted.problem
    assert scene.house.records.aliases("pets")["production"] == live.number
    body = json.loads(scene.house.records.facts("release")[0].body)
    assert (body["kind"], body["candidate"]) == ("canary", 3)
