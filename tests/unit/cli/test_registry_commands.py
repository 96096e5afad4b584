from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "app"))
import registered
from receivers import Receiver

from fairlead.cli.main import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    house = registered.new_house(folder / "home")
    for seed in (1, 2):
        registered.add_version(house, "digits", registered.classifier(folder / f"{seed}.onnx", seed=seed))
    house.records.add_traits("digits", 2, {"publisher": "ann"})
    return folder / "home"


@pytest.fixture(autouse=True)
def _here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_HOME", str(home))
    monkeypatch.setenv("FAIRLEAD_USER", "bob")


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(arguments) == code
    found = capsys.readouterr()
    return found.out if not code else found.err


def test_the_sentences_of_the_registry_are_said_one_after_the_other(capsys, tmp_path):
    assert "digits:2" in told(capsys, "models")
    assert "team=vision" in told(capsys, "tag", "digits:2", "team=vision", "reviewed")
    assert told(capsys, "note", "digits:2", "spring data") == "digits:2: spring data\n"
    assert told(capsys, "stage", "digits:2", "staging") == "digits:2  stage: staging\n"
    listed = told(capsys, "versions", "digits")
    assert "staging" in listed
    assert "reviewed  team=vision" in listed
    assert "There are more than 1: --limit 5 shows older ones." in told(capsys, "versions", "digits", "--limit", "1")
    assert "more than" not in listed
    found = json.loads(told(capsys, "search", "tag:team=vision", "alias:production", "--json"))
    assert [hit["number"] for hit in found["hits"]] == [2]
    shown = told(capsys, "show", "digits:2")
    assert "tags: reviewed  team=vision" in shown
    assert "by ann" in shown
    assert "decided otherwise" in told(capsys, "diff", "digits:1", "digits:2")
    assert "stage is staging" in told(capsys, "gc", "--dry-run", "--keep", "1")
    out = tmp_path / "d.fairlead"
    assert "sha256" in told(capsys, "export", "digits:2", "--out", str(out))
    taken = json.loads(told(capsys, "import", str(out), "--name", "copy", "--json"))
    assert taken["version"] == "copy:1"


def test_an_empty_registry_is_said_to_be_empty_whatever_one_looks_for(capsys, tmp_path):
    empty = ("--home", str(tmp_path / "nothing"))
    assert told(capsys, "search", "framework:xgboost", *empty) == told(capsys, "models", *empty)
    assert "fairlead deploy" in told(capsys, "search", *empty)


def test_a_protected_model_takes_a_second_person(capsys):
    told(capsys, "protect", "digits")
    try:
        assert "has no approval" in told(capsys, "promote", "digits:2", "--wait", "0", code=11)
        assert "published digits:2" in told(capsys, "approve", "digits:2", "--as", "ann", code=11)
        assert "bob approved digits:2" in told(capsys, "approve", "digits:2")
        assert "protected (@production): approved by bob" in told(capsys, "show", "digits:2")
        assert "not approved any more" in told(capsys, "approve", "digits:2", "--withdraw")
    finally:
        told(capsys, "protect", "digits", "--remove")
    assert "was not protected" in told(capsys, "protect", "digits", "--remove")


def test_webhooks_are_added_tried_delivered_and_removed(capsys, monkeypatch):
    receiver = Receiver()
    try:
        assert "not a public address" in told(capsys, "webhook", "add", receiver.url, code=11)
        monkeypatch.setenv("FAIRLEAD_ALLOW_PRIVATE_WEBHOOKS", "1")
        added = json.loads(told(capsys, "webhook", "add", receiver.url, "--on", "tag.changed", "--json"))
        assert added["secret"].startswith("whsec_")
        assert "took it (200)" in told(capsys, "webhook", "test", added["id"])
        told(capsys, "tag", "digits:1", "news")
        assert "tag.changed  tag/digits:1/news  200" in told(capsys, "webhook", "deliver")
        assert told(capsys, "webhook", "deliver", added["id"]) == "Nothing is due.\n"
        listed = told(capsys, "webhook", "list")
        assert "well" in listed
        assert "hidden" not in listed
        receiver.statuses = [500]
        assert "did not take the test event" in told(capsys, "webhook", "test", added["id"], code=10)
        told(capsys, "tag", "digits:1", "more")
        assert "It answered 500. (again in" in told(capsys, "webhook", "deliver")
        assert "Nothing is due yet: 1 waits, the next attempt is in" in told(capsys, "webhook", "deliver", added["id"])
        told(capsys, "webhook", "remove", added["id"])
    finally:
        receiver.close()
    assert "No webhooks yet" in told(capsys, "webhook", "list")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("search", "acuracy>1"), 2, "No version knows"),
        (("tag", "digits:9", "x"), 5, "no version digits:9"),
        (("stage", "digits:1"), 2, "Give a stage"),
        (("note", "digits:1", "x", "--remove"), 2, "Give a text"),
        (("import", "pyproject.toml"), 3, "no exported version"),
        (("approve", "digits:1"), 11, "Nobody knows"),
        (("webhook", "add", "ftp://x/"), 2, "not a scheme"),
        (("webhook", "remove", "nosuch"), 5, "no webhook"),
        (("gc", "nothing"), 5, "Nothing is registered"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_exit_code(capsys, arguments, code, said):
    assert said in told(capsys, *arguments, code=code)
