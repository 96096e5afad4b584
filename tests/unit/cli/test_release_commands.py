"""What a person types about releases: flags that fit together, refusals that say what to do, and what is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fairlead.app.release_outlook import EVIDENCE
from fairlead.app.strategy_wish import StrategyWish
from fairlead.cli.main import run
from fairlead.core.evidence import Outcome, ReleaseCounter
from fairlead.core.release import ReleaseStatus
from fairlead.core.strategy import Need, Scenario
from fairlead.register import promotion
from fairlead.stores.document import dump

sys.path.append(str(Path(__file__).parents[1] / "app"))

import registered


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A registry with `pets:1` live and more versions: 4 has a plan for its release, 5 has one that goes at once."""
    folder = tmp_path_factory.mktemp("pets")
    house = registered.new_house(folder / "home")
    plans = {3: StrategyWish(Scenario.FINANCE).decide(()), 4: StrategyWish(Scenario.MANUFACTURING, (Need.EDGE,)).decide(())}
    for seed in range(5):
        model = registered.classifier(folder / f"{seed}.onnx", seed=seed)
        registered.add_version(house, "pets", model, alias="" if seed else "production", strategy=plans.get(seed))
    return folder / "home"


@pytest.fixture
def fairlead(home, capsys, monkeypatch):
    """Run a command as ann; gives status, output and errors."""
    monkeypatch.setenv("FAIRLEAD_USER", "ann")

    def call(*words: str) -> tuple[int, str, str]:
        status = run([*words, "--home", str(home)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield call
    kept = promotion.current("pets", records=registered.new_house(home).records)
    if kept is not None and kept.release.is_active:
        run(["release", "pets", "stop", "--home", str(home)])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("promote", "pets:2", "--canary", "10,50"), 2, "Did you mean 10%?"),
        (("promote", "pets:2", "--canary", "50%,10%"), 2, "do not grow"),
        (("promote", "pets:2", "--canary", "10%", "--gate", "acuracy"), 2, "unknown metric: 'acuracy'"),
        (("promote", "pets:2", "--canary", "10%", "--alpha", "2"), 2, "alpha"),
        (("promote", "pets:2", "--canary", "10%", "--for", "1h"), 2, "--for is the time of a shadow alone"),
        (("promote", "pets:2", "--canary", "10%", "--segment", "x-country"), 2, "is not a segment"),
        (("promote", "pets:2", "--shadow", "0%"), 2, "compares nothing"),
        (("promote", "pets:2", "--gate", "error_rate"), 2, "--gate needs a canary or a shadow"),
        (("promote", "pets:2", "--step-time", "10m"), 2, "--step-time needs a canary"),
        (("promote", "pets:2", "--hold"), 2, "--hold needs a canary"),
        (("promote", "pets:2", "--as-planned"), 2, "registered without a plan for its release"),
        (("promote", "pets:4", "--as-planned", "--canary", "10%"), 2, "--as-planned says what --canary says"),
        (("promote", "pets:4", "--as-planned", "--min-requests", "500"), 2, "--as-planned says what --min-requests says"),
        (("promote", "pets:5", "--as-planned", "--sticky", "user"), 2, "--sticky needs a canary"),
        (("promote", "pets:9", "--canary", "10%"), 5, "There is no version pets:9"),
        (("promote", "pets:1", "--canary", "10%"), 2, "is live already"),
        (("experiment", "pets", "--split", "A=1:50", "B=2:40"), 2, "add up to 90, not to 100"),
        (("experiment", "pets", "--split", "A=2:50", "B=3:50"), 2, "No arm is the live version pets:1"),
        (("experiment", "pets", "--split", "A=1:50", "B=2:50", "--stop"), 2, "One thing at a time"),
        (("rollback", "pets"), 5, "nothing to roll back to"),
        (("rollback", "pets", "--to", "cats:1"), 2, "is no version of pets"),
        (("rollback", "pets", "--to", "9"), 5, "does not stand before"),
        (("release", "cats"), 5, "Nothing is registered as 'cats'"),
        (("apply", "nothing.yaml"), 2, "Cannot read 'nothing.yaml'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(fairlead, words, status, said):
    got, out, err = fairlead(*words)
    assert (got, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


def test_a_canary_is_begun_shown_held_and_stopped(fairlead):
    status, out, _ = fairlead("promote", "pets:2", "--canary", "1%,10%", "--gate", "error_rate, p99_ms<=20", "--detach")
    assert (status, out.splitlines()[0]) == (0, "canary of pets:2 against pets:1 on pets@production; running, step 1 of 2 (1%)")
    shown = fairlead("release", "pets")[1]
    assert "gate       error_rate, p99_ms<=20 (alpha 0.01)" in shown
    assert "No server runs that serves pets@production" in shown
    assert "held, step 1 of 2" in fairlead("release", "pets", "hold")[1]
    refused = fairlead("promote", "pets:3", "--canary", "10%")
    assert refused[0] == 6
    assert "A canary of pets:2 for pets@production is running" in refused[2]
    assert fairlead("release", "pets", "advance")[1].splitlines()[0].endswith("running, step 2 of 2 (10%)")
    assert "stopped" in fairlead("release", "pets", "stop")[1]
    shown = fairlead("release", "pets")[1]
    assert "stopped" in shown
    assert "REQUESTS" not in shown  # nobody asked


def test_what_an_ended_release_saw_is_shown_until_the_next_begins(fairlead, home):
    fairlead("promote", "pets:2", "--canary", "10%", "--detach")
    records = registered.new_house(home).records
    release = promotion.current("pets", records=records).release
    counter = ReleaseCounter(release.id)
    for _ in range(30):
        counter.arm(0, "candidate").answered(1_000_000, Outcome.OK)
    records.put_report(EVIDENCE, f"{release.id}/one", dump(counter.read()).decode(), 1.0)
    fairlead("release", "pets", "stop")
    assert "candidate (pets:2)  30" in fairlead("release", "pets")[1]


def test_a_release_goes_as_the_versions_own_plan_says_with_its_reasons(fairlead):
    status, out, err = fairlead("promote", "pets:4", "--as-planned", "--sticky", "user_id", "--detach")
    assert (status, out.splitlines()[0].split(";")[0]) == (0, "canary of pets:4 against pets:1 on pets@production")
    assert err.splitlines()[0].startswith('as planned: --shadow 20% --canary "1%,10%,50%" --gate')
    assert "(scenario finance)" in err
    told = json.loads(fairlead("release", "pets", "--json")[1])["release"]
    assert (told["sticky"], [step["share"] for step in told["steps"]]) == ("user_id", [0.0, 0.01, 0.1, 0.5])


def test_promoting_at_once_what_was_planned_to_go_by_steps_is_done_and_said(fairlead):
    status, _, err = fairlead("promote", "pets:4")
    assert status == 0
    assert err.startswith("  planned was  fairlead promote pets:4 --as-planned  (--shadow 20% --canary")
    assert fairlead("rollback", "pets", "--further")[0] == 0


def test_what_is_no_experiment_is_not_ended_as_one(fairlead):
    fairlead("promote", "pets:2", "--canary", "10%", "--detach")
    status, _, err = fairlead("experiment", "pets", "--stop")
    assert (status, "No experiment of pets runs. A canary of pets:2" in err) == (6, True)
    assert fairlead("release", "pets", "stop")[0] == 0
    assert "The last release was a canary of pets:2" in fairlead("experiment", "pets", "--choose", "B")[2]


def test_a_plan_that_goes_at_once_does(fairlead):
    status, out, err = fairlead("promote", "pets:5", "--as-planned")
    assert (status, err.splitlines()[0]) == (0, "as planned: at once")
    assert "@production -> pets:5" in out
    assert fairlead("rollback", "pets", "--further")[0] == 0


def test_watching_ends_with_the_release_and_a_roll_back_is_a_failure(fairlead, home):
    fairlead("promote", "pets:2", "--canary", "10%", "--detach")
    house = registered.new_house(home)
    kept = promotion.current("pets", records=house.records)
    ended = kept.release.with_event(1.0, "Roll back: far too slow.", "gate", status=ReleaseStatus.ROLLED_BACK)
    promotion._put(ended, kept.revision, house.records, "gate", 1.0)
    told = fairlead("release", "pets", "--follow", "--json")
    assert (told[0], json.loads(told[1])["followed"]["behind"]) == (4, [])
    status, out, err = fairlead("release", "pets", "--follow")
    assert (status, out.strip()) == (4, "pets@production is pets:1")
    assert "✗ Roll back: far too slow." in err
    assert "was rolled back: far too slow." in err


def test_interrupted_it_says_that_the_release_goes_on(fairlead, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fairlead.cli.release_follow.progress_line", interrupted)
    status, _, err = fairlead("promote", "pets:2", "--canary", "10%")
    assert status == 130
    assert "goes on without this command" in err
    assert "error:" not in err
    assert "running" in fairlead("release", "pets")[1]


def test_a_file_is_shown_applied_and_then_there_is_nothing_to_do(fairlead, tmp_path):
    file = tmp_path / "release.yaml"
    file.write_text("model: pets\nversion: 3\ncanary: {steps: [1%, 10%]}\n")
    shown = fairlead("apply", str(file), "--dry-run")[1]
    assert "to do   begin the canary of pets:3" in shown
    assert "running, step 1 of 2 (1%)" in fairlead("apply", str(file))[1]
    assert "nothing: it is so already" in fairlead("apply", str(file))[1]
    assert json.loads(fairlead("apply", str(file), "--dry-run", "--json")[1])["to_do"] == []
    file.write_text("model: pets\nversion: 1\n")
    assert fairlead("apply", str(file))[1].splitlines()[4:] == [
        "ended the canary of pets:3",
        "@production is pets:1",
        "No server runs: the next one that starts serves it.",
    ]


def test_at_once_and_back_without_a_server(fairlead):
    assert "@production -> pets:2 (before: pets:1)" in fairlead("promote", "pets:2")[1]
    status, out, _ = fairlead("rollback", "pets", "--json")
    assert (status, json.loads(out)["number"]) == (0, 1)
    history = fairlead("history", "pets")[1].splitlines()
    assert "@production pets:2 -> pets:1  (rollback by ann)" in history[-1]
    assert json.loads(fairlead("history", "pets", "--json")[1])[-1]["move"]["reason"] == "rollback"
