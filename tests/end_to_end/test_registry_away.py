"""Two servers follow one registry in PostgreSQL and S3, which goes away in every way: not one answer is lost, and they follow again."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest

pytest.importorskip("pg8000", reason="the extra 'postgres' is not installed")
pytest.importorskip("boto3", reason="the extra 's3' is not installed")
import registered

from fairlead.app.registry_source import RegistrySource
from fairlead.app.wiring import build_house
from fairlead.errors import StorageError, StoreAwayError
from fairlead.register.aliases import promote
from fairlead.serve.server import ServeJob, ServerThread
from fairlead.stores.postgres_records import PostgresRecords

_schemas = itertools.count(1)
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}]}).encode()


class Asker:
    """Asks a server without a pause; keeps each status and version."""

    def __init__(self, url: str) -> None:
        self.url, self.answers, self.failures, self._stop = url, [], [], threading.Event()
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(0.005):
            try:
                self.answers.append(version_of(self.url))
            except OSError as error:
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._stop.set()
        self.thread.join()


def version_of(url: str) -> str:
    request = urllib.request.Request(f"{url}/v2/models/pets/infer", BODY, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["model_version"]


@pytest.fixture
def open_house(postgres, s3, tmp_path, monkeypatch):
    """Open the shared registry as a machine with a home folder of its own would."""
    url, bucket = postgres.url(f"away_{next(_schemas)}"), s3.new_bucket()
    monkeypatch.setenv("FAIRLEAD_S3_ENDPOINT", s3.endpoint)
    with ExitStack() as stack:

        def open_house(name: str):
            house = build_house(tmp_path / name, url, f"s3://{bucket}/models")
            house.records.close()
            hasty = PostgresRecords(url, connect_limit_s=0.5, call_limit_s=1.0)
            stack.callback(house.blobs.close)
            stack.callback(hasty.close)
            return registered.replace(house, records=hasty)

        yield open_house


def until(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_servers_answer_while_their_registry_is_away_and_follow_it_again(postgres, open_house, tmp_path):
    author = open_house("author")
    registered.add_version(author, "pets", registered.classifier(tmp_path / "one.onnx"))
    with ExitStack() as stack:
        said: list[str] = []
        servers = [
            stack.enter_context(
                ServerThread(
                    ServeJob(
                        RegistrySource(open_house(name), ["pets"]), port=0, follow_interval_s=0.05, keep_warm_s=0.0, report=said.append
                    )
                )
            )
            for name in ("a", "b")
        ]
        askers = [Asker(server.url) for server in servers]
        try:
            for how in ("stop", "kill", "hang"):
                if how == "hang":
                    postgres.signal_all(signal.SIGSTOP)
                else:
                    postgres.stop(signal.SIGKILL if how == "kill" else signal.SIGINT)
                before = [len(asker.answers) for asker in askers]
                try:
                    with pytest.raises(StoreAwayError):
                        author.records.latest("pets")
                    until(lambda counts=before: all(len(asker.answers) > count + 20 for asker, count in zip(askers, counts, strict=True)))
                finally:
                    if how == "hang":
                        postgres.signal_all(signal.SIGCONT)
                    else:
                        postgres.start()
            until(lambda: can_be_read(author))
            registered.add_version(author, "pets", registered.classifier(tmp_path / "two.onnx"), alias="")
            promote("pets", 2, records=author.records, clock=time.time)
            until(lambda: all(asker.answers[-1] == "2" for asker in askers))
        finally:
            for asker in askers:
                asker.stop()
    assert [asker.failures for asker in askers] == [[], []]
    assert all(set(asker.answers) == {"1", "2"} for asker in askers)
    assert all(asker.answers == sorted(asker.answers) for asker in askers)
    assert any("cannot be read" in line for line in said)
    assert not any("p@ss" in line for line in said)


def can_be_read(house) -> bool:
    try:
        return house.records.latest("pets") is not None
    except StorageError:
        return False
