"""Releases with real servers and models: what is good promotes itself, what is bad takes itself back, and the history says why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import release_house
from release_house import NAME, Load

from fairlead.app.release_view import history
from fairlead.app.wiring import House
from fairlead.cli.main import run
from fairlead.core.release import ReleaseStatus
from fairlead.register import promotion

pytestmark = pytest.mark.slow
GATE = "error_rate, client_error_rate"


@dataclass
class Field:
    """A registry with version 1 live, two servers that follow it, and clients that ask both."""

    house: House
    folder: Path
    load: Load

    def add(self, make: Callable[[Path], tuple[Path, object]]) -> int:
        return release_house.add(self.house, self.folder, make(self.folder / f"{make.__name__}-{time.monotonic_ns()}.onnx")).number

    @property
    def live(self) -> int:
        return self.house.records.aliases(NAME)["production"]

    def promote(self, number: int, *options: str) -> int:
        """Run the command; return its exit status."""
        return run(["promote", f"{NAME}:{number}", "--home", str(self.house.settings.home), *options])

    def said(self) -> str:
        """What history says, as one text."""
        return "\n".join(entry.event.sentence for entry in history(NAME, self.house) if entry.event is not None)


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("release")
    house = release_house.registered.new_house(folder / "home")
    release_house.add(house, folder, release_house.good(folder / "first.onnx"), alias="production")
    with (
        release_house.serving(house.settings.home) as (_, one),
        release_house.serving(house.settings.home) as (_, two),
        Load([one, one, two, two]) as load,
    ):
        release_house.wait_for_servers(house, 2)
        yield Field(house, folder, load)
        assert load.problems == []


def good_again(path: Path) -> tuple[Path, object]:
    return release_house.good(path, mark=float(time.monotonic_ns() % 1000) + 1.0)


def test_a_good_version_is_promoted_by_its_canary(field, capsys):
    before, number = field.live, field.add(good_again)
    assert field.promote(number, "--canary", "20%,50%", "--gate", GATE, "--step-time", "0", "--min-requests", "60") == 0
    assert field.live == number
    printed = capsys.readouterr()
    assert "On to 50%" in printed.err
    assert f"{NAME}@production is {NAME}:{number}" in printed.out
    answered = {version for (status, version) in field.load.counts() if status == 200}
    assert {str(before), str(number)} <= answered
    assert "60" in field.said()


@pytest.mark.parametrize(
    ("make", "options", "word"),
    [
        (release_house.refusing, ("--gate", GATE), "client_error_rate"),
        (release_house.wrong, ("--gate", "disagreement<=0.05", "--shadow", "50%"), "disagreement"),
        (release_house.slow, ("--gate", "p50_ms"), "p50_ms"),
    ],
    ids=["failing", "wrong", "slow"],
)
def test_a_bad_version_is_taken_back_by_the_gate_with_its_numbers(field, capsys, make, options, word):
    before, number, began = field.live, field.add(make), time.monotonic()
    assert field.promote(number, "--canary", "40%", "--step-time", "0", "--min-requests", "5000", *options) == 4
    assert field.live == before
    ended = promotion.current(NAME, records=field.house.records).release
    assert ended.status is ReleaseStatus.ROLLED_BACK
    finding = next(item for item in ended.log[-1].basis.findings if item.metric.startswith(word))
    assert finding.e_value >= finding.threshold
    assert finding.requests > 0
    assert "was rolled back" in capsys.readouterr().err
    assert run(["history", NAME, "--home", str(field.house.settings.home)]) == 0
    assert word in capsys.readouterr().out
    # The canary's share bounds who met it: of those that were asked meanwhile, no more than were drawn for it (and nobody once it is over).
    counts = field.load.counts(began)
    asked, met = sum(counts.values()), sum(1 for at, *_, arm in field.load.seen if at >= began and arm == "candidate")
    assert met <= 0.4 * asked + 4 * (0.24 * asked) ** 0.5
    assert {version for _, version in field.load.counts_after(time.monotonic())} <= {str(before), ""}


def test_blue_green_switches_when_all_have_it_and_back_at_once(field, capsys):
    before, number = field.live, field.add(good_again)
    assert field.promote(number, "--json") == 0
    over = time.monotonic()
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["number"], outcome["previous"], len(outcome["followed"]["servers"]), outcome["followed"]["behind"]) == (
        number,
        before,
        2,
        [],
    )
    assert set(field.load.counts_after(over)) == {(200, str(number))}
    assert run(["rollback", NAME, "--home", str(field.house.settings.home)]) == 0
    over = time.monotonic()
    assert f"@production -> {NAME}:{before}" in capsys.readouterr().out
    assert set(field.load.counts_after(over)) == {(200, str(before))}


def test_rolling_back_ends_a_canary_and_leaves_the_alias(field, capsys):
    before, number = field.live, field.add(good_again)
    assert field.promote(number, "--canary", "30%", "--gate", GATE, "--detach") == 0
    release_house.registered.wait_until(lambda: any(arm == "candidate" for *_, arm in field.load.seen[-50:]), 60.0)
    assert run(["rollback", NAME, "--home", str(field.house.settings.home)]) == 0
    over = time.monotonic()
    assert "was rolled back" in capsys.readouterr().out
    assert set(field.load.counts_after(over)) == {(200, str(before))}
    assert field.live == before


def test_an_experiment_splits_says_what_it_saw_and_ends_with_an_arm(field, capsys):
    before, number = field.live, field.add(good_again)
    home = ["--home", str(field.house.settings.home)]
    assert run(["experiment", NAME, "--split", f"A={before}:50", f"B={number}:50", "--sticky", "user_id", *home]) == 0
    release_house.registered.wait_until(lambda: {arm for *_, arm in field.load.seen[-60:]} == {"A", "B"}, 60.0)

    def is_told() -> bool:
        capsys.readouterr()
        assert run(["experiment", NAME, *home]) == 0
        printed = capsys.readouterr().out
        return "error_rate" in printed and "LIES BETWEEN" in printed

    release_house.registered.wait_until(is_told, 60.0)  # counts are told once a second
    assert run(["experiment", NAME, "--choose", "B", *home]) == 0
    assert field.live == number
    assert promotion.current(NAME, records=field.house.records).release.status is ReleaseStatus.PROMOTED


def test_a_version_that_no_server_can_load_never_becomes_live(field, capsys):
    before = field.live
    number = field.add(good_again)
    version = field.house.records.version(NAME, number)
    entry = next(item for item in version.manifest.files if item.name == "model.onnx")
    blob = next(field.house.settings.home.glob(f"blobs/**/{entry.digest}*"))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert field.promote(number) == 4
    assert "was not promoted" in capsys.readouterr().err
    assert field.live == before
