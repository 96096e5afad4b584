"""Releases from a registry that machines share: PostgreSQL and an S3 store, two servers, and the registry away in the middle."""

from __future__ import annotations

import time

import pytest
import release_house
from release_house import NAME, Load

from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.core.gate import parse_gate
from fairlead.core.release import ReleaseKind, ReleaseStatus
from fairlead.core.release_text import parse_steps
from fairlead.register import promotion

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(tmp_path, postgres, s3, monkeypatch):
    monkeypatch.setenv("FAIRLEAD_REGISTRY", postgres.url("release"))
    monkeypatch.setenv("FAIRLEAD_BLOBS", f"s3://{s3.new_bucket()}/models")
    monkeypatch.setenv("FAIRLEAD_S3_ENDPOINT", s3.endpoint)
    house = build_house(tmp_path / "one")
    yield house
    house.records.close()
    house.blobs.close()


def test_a_canary_goes_on_where_it_stood_when_the_registry_comes_back(shared, tmp_path, postgres, capsys):
    release_house.add(shared, tmp_path, release_house.good(tmp_path / "first.onnx"), alias="production")
    number = release_house.add(shared, tmp_path, release_house.good(tmp_path / "second.onnx", 2.0)).number
    with (
        release_house.serving(tmp_path / "one") as (_, one),
        release_house.serving(tmp_path / "two") as (_, two),  # another machine has another home
        Load([one, two]) as load,
    ):
        release_house.wait_for_servers(shared, 2)
        gate = parse_gate("error_rate", min_requests=40)
        begin(ReleaseRequest(ReleaseKind.CANARY, f"{NAME}:{number}", steps=parse_steps("30%,50%"), gate=gate), shared)
        release_house.registered.wait_until(lambda: {arm for *_, arm in load.seen[-40:]} >= {"live", "candidate"}, 60.0)
        postgres.stop()
        try:
            away = time.monotonic()
            assert run(["promote", f"{NAME}:{number}", "--home", str(tmp_path / "three")]) == 9
            assert run(["rollback", NAME, "--home", str(tmp_path / "three")]) == 9
            assert "Traceback" not in capsys.readouterr().err
            time.sleep(1.0)
            answered = load.counts_after(away)
            assert {status for status, _ in answered} == {200}  # the last plan is followed
            assert {version for _, version in answered} <= {"1", str(number)}
        finally:
            postgres.start()
        ended = (ReleaseStatus.PROMOTED, ReleaseStatus.ROLLED_BACK)
        release_house.registered.wait_until(lambda: promotion.current(NAME, records=shared.records).release.status in ended, 60.0)
        assert promotion.current(NAME, records=shared.records).release.status is ReleaseStatus.PROMOTED
        assert shared.records.aliases(NAME) == {"production": number}
        assert [move.number for move in shared.records.alias_history(NAME, "production")] == [1, number]
        assert run(["rollback", NAME, "--home", str(tmp_path / "three")]) == 0
        over = time.monotonic()
        assert set(load.counts_after(over)) == {(200, "1")}
        assert load.problems == []
