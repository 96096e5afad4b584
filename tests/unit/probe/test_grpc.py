"""The same over gRPC: every check against a service by grpcio that is right or wrong, and loads by our own frames against grpcio."""

from __future__ import annotations

import numpy as np
import pytest
from fake_v2 import FakeV2

from fairlead.errors import RequestError, SpecError
from fairlead.probe.conformance import run, transport_checks
from fairlead.probe.conformance.run import CHECKS, ConformanceJob, judge, open_target
from fairlead.probe.load.bench import BenchJob
from fairlead.probe.stage import probe

pytest.importorskip("grpc", reason="the extra grpc is not installed")

from fake_grpc import FakeGrpc


@pytest.fixture(autouse=True)
def smaller_bomb(monkeypatch) -> None:
    """The servers here take 1 MiB."""
    monkeypatch.setattr(transport_checks, "_BOMB_BYTES", 8 * 2**20)


GRPC_CHECKS = {check.name: check for check in CHECKS if "grpc" in check.needs}
WRONG = {
    "not live": ["live, ready, model ready"],
    "extensions": ["server metadata"],
    "metadata": ["model metadata"],
    "raw": ["raw contents", "CANCELLED", "DEADLINE_EXCEEDED"],
    "typed": ["typed contents"],
    "id": ["id and model_name"],
    "accepts all": ["INVALID_ARGUMENT", "UNIMPLEMENTED"],
    "everybody": ["NOT_FOUND"],
    "index": ["repository index"],
    "statistics": ["statistics"],
    "config": ["configuration"],
    "ready after unload": ["UNAVAILABLE"],
    "five kinds": ["all five kinds"],
    "priority": ["priority as uint64"],
    "stream ends": ["a stream, and an error in it"],
    "field 1": ["load by field 1"],
}


def test_a_service_that_is_right_passes_every_line() -> None:
    with FakeV2() as fake, FakeGrpc() as service:
        report = probe(ConformanceJob(fake.url, grpc=service.address, may_unload=True))
    assert [finding for finding in report.findings if finding.status == "fail"] == []
    assert {finding.status for finding in report.findings if finding.check in GRPC_CHECKS and finding.line in {12, 13, 17, 18}} == {"pass"}


@pytest.mark.parametrize(("wrong", "expected"), WRONG.items(), ids=WRONG)
def test_a_wrong_service_fails_the_check_that_looks_for_it(wrong, expected) -> None:
    for name in expected:
        with FakeV2() as fake, FakeGrpc(wrong) as service:
            target = open_target(ConformanceJob(fake.url, grpc=service.address, may_unload=True))
            assert judge(GRPC_CHECKS[name], target).status == "fail"
            target.grpc.close()


def test_every_check_has_a_service_that_fails_it() -> None:
    assert set(GRPC_CHECKS) == {name for names in WRONG.values() for name in names}


def test_without_grpcio_the_lines_are_skipped_with_the_cure(monkeypatch) -> None:
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(run.importlib, "import_module", absent)
    with FakeV2() as fake:
        report = probe(ConformanceJob(fake.url, grpc="127.0.0.1:1"))
    finding = next(finding for finding in report.findings if finding.check == "raw contents")
    assert finding.status == "skipped"
    assert "pip install 'fairlead[grpc]'" in finding.remark


@pytest.mark.parametrize("concurrency", [1, 70])
def test_a_load_over_grpc_counts_right_answers(concurrency) -> None:
    with FakeV2() as fake, FakeGrpc() as service:
        job = {"protocol": "grpc", "grpc": service.address, "concurrency": concurrency, "duration_s": 0.5, "warm_up_s": 0.1}
        result = probe(BenchJob(fake.url, **job)).result
    assert result.is_clean
    assert result.right_count > 10


def test_a_large_message_waits_for_the_peers_window() -> None:
    rows = ({"x": np.random.default_rng(0).random((10_000, 4)).astype(np.float32), "k": np.ones((10_000, 1), np.int64)},)
    with FakeV2() as fake, FakeGrpc() as service:
        job = {"protocol": "grpc", "grpc": service.address, "concurrency": 2, "duration_s": 0.5, "warm_up_s": 0.0, "rows": lambda _: rows}
        result = probe(BenchJob(fake.url, **job)).result
    assert result.is_clean
    assert result.sent_bytes / result.sent_count > 240_000  # a window is 65,535 bytes at first


def test_a_service_that_refuses_is_counted_by_its_status() -> None:
    with FakeV2() as fake, FakeGrpc("breaks") as service:
        job = {"protocol": "grpc", "grpc": service.address, "concurrency": 2, "duration_s": 0.3, "warm_up_s": 0.0}
        with pytest.raises(RequestError, match="gRPC status 13"):
            probe(BenchJob(fake.url, **job))
        service.fake.calls = -30  # the first 30 are answered, the others are not
        result = probe(BenchJob(fake.url, **job)).result
    assert set(result.errors) == {"gRPC 13"}


def test_grpc_needs_an_address() -> None:
    with FakeV2() as fake, pytest.raises(SpecError, match="speak gRPC"):
        probe(BenchJob(fake.url, protocol="grpc", concurrency=1))
