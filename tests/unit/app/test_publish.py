"""Publishing: one version there for one digest here, with its evidence; what fails half-way leaves no version."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairlead.app import publish as publishing
from fairlead.app.mlflow_client import server_errors
from fairlead.app.publish import DIGEST_TAG, VERDICT_TAG, VERSION_TAG, PublishRequest, publish
from fairlead.app.wiring import build_house
from fairlead.core.target import Machine
from fairlead.core.verdict import Check, Parity, Verdict
from fairlead.errors import EnvironmentalError, NotFoundError, SpecError
from fairlead.register.stage import Registration, register
from fairlead.stores.document import dump

MODEL = b"a model"
SERVER = "http://127.0.0.1:5000"


class FakeTracking:
    """A tracking server's records: versions, aliases, runs with what was logged to them."""

    def __init__(self) -> None:
        self.versions, self.aliases, self.models, self.experiments = [], {}, set(), {}
        self.logged, self.ended = [], []
        self.on_create = lambda: None

    def search_model_versions(self, query):
        return [item for item in self.versions if query == f"name='{item.name}'"]

    def search_registered_models(self, query):
        return [name for name in self.models if query == f"name='{name}'"]

    def create_registered_model(self, name):
        assert name not in self.models
        self.models.add(name)

    def get_experiment_by_name(self, name):
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = SimpleNamespace(experiment_id=f"of-{name}")
        return self.experiments[name].experiment_id

    def create_run(self, experiment_id, tags, run_name):
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run{len(self.ended)}", artifact_uri=f"store:/{experiment_id}/{run_name}"))

    def log_artifacts(self, run_id, folder, path):
        self.logged += [f"{path}/{item.name}" for item in Path(folder).iterdir()]

    def log_artifact(self, run_id, file, path):
        self.logged.append(f"{path}/{Path(file).name}")

    def set_terminated(self, run_id, status):
        self.ended.append(status)

    def create_model_version(self, name, source, run_id, tags):
        self.on_create()
        return self.add(name, tags, run_id=run_id, source=source)

    def delete_model_version(self, name, version):
        self.versions = [item for item in self.versions if (item.name, item.version) != (name, version)]

    def set_registered_model_alias(self, name, alias, version):
        self.aliases[(name, alias)] = version

    def add(self, name, tags, **rest):
        made = SimpleNamespace(name=name, version=str(len(self.versions) + 1), tags=tags, **{"run_id": "theirs", **rest})
        self.versions.append(made)
        return made


@pytest.fixture
def tracking(monkeypatch):
    found = FakeTracking()
    monkeypatch.setattr(publishing, "open_client", lambda uri: found)
    monkeypatch.setattr(publishing, "server_errors", lambda uri: contextlib.nullcontext())
    return found


@pytest.fixture
def shipped(monkeypatch):
    """What an export writes is another test's matter."""

    def ship(version, files, folder, *, layout):
        folder.mkdir()
        (folder / "MLmodel").write_text(f"{version.label} as {layout}")

    monkeypatch.setattr(publishing, "ship", ship)


@pytest.fixture
def house(fairlead_home):
    return build_house(fairlead_home)


@pytest.fixture
def version(house, tmp_path):
    digest = hashlib.sha256(MODEL).hexdigest()
    parity = Parity(1, 0, (), 0, {}, is_deterministic=True, tolerance=1e-5)
    checks = (Check("parity", is_met=True, measured=0.0, bound="<=1e-5"),)
    verdict = Verdict("c", "e", "r", checks, parity, (), (), 1, 1, 1, digest, "", "", 1, 0, Machine("s", "p", 1, 1))
    contents = {"model.onnx": MODEL, "verdict.json": dump(verdict), "lineage.json": b"{}", "golden.npz": b"rows"}
    files = {name: tmp_path / name for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    return register(Registration("digits", files, verdict), records=house.records, blobs=house.blobs, clock=house.clock)


pytestmark = pytest.mark.usefixtures("shipped")


def test_folder_evidence_tags_and_alias_go_to_the_server(tracking, house, version):
    published = publish("digits:1", PublishRequest(SERVER, alias="champion"), house)
    assert (published.name, published.version, published.is_new, published.uri) == ("digits", 1, True, "models:/digits/1")
    assert sorted(tracking.logged) == ["evidence/lineage.json", "evidence/verdict.json", "model/MLmodel"]
    (made,) = tracking.versions
    assert made.tags == {DIGEST_TAG: version.digest, VERDICT_TAG: "green", VERSION_TAG: "digits:1"}
    assert made.source == "store:/of-fairlead/digits:1/model"
    assert tracking.aliases == {("digits", "champion"): "1"}
    assert tracking.ended == ["FINISHED"]


def test_the_same_digest_is_published_once_and_only_the_alias_moves(tracking, house, version):
    publish("digits:1", PublishRequest(SERVER, "there"), house)
    again = publish("digits:1", PublishRequest(SERVER, "there", "champion"), house)
    assert (again.is_new, again.version, len(tracking.versions), len(tracking.ended)) == (False, 1, 1, 1)
    assert tracking.aliases == {("there", "champion"): "1"}


def test_who_was_slower_takes_the_version_of_who_was_faster(tracking, house, version):
    tracking.on_create = lambda: tracking.add("digits", {DIGEST_TAG: version.digest})
    published = publish("digits:1", PublishRequest(SERVER), house)
    assert (published.version, published.run_id, len(tracking.versions)) == (1, "theirs", 1)


def test_another_digest_of_the_same_name_is_another_version(tracking, house, version):
    tracking.add("digits", {DIGEST_TAG: "0" * 64})
    assert publish("digits:1", PublishRequest(SERVER), house).version == 2


def test_a_run_whose_artifacts_do_not_arrive_ends_as_failed_and_no_version_is_made(tracking, house, version, monkeypatch):
    pytest.importorskip("mlflow")
    exceptions = pytest.importorskip("requests").exceptions

    def broken(*_):
        raise exceptions.ConnectionError("reset by peer")

    tracking.log_artifacts = broken
    monkeypatch.setattr(publishing, "server_errors", server_errors)
    with pytest.raises(EnvironmentalError, match="does not answer"):
        publish("digits:1", PublishRequest(SERVER), house)
    assert (tracking.ended, tracking.versions) == (["FAILED"], [])
    assert not any(house.work.iterdir())


def test_what_is_not_registered_is_said_before_the_server_is_asked(tracking, house, version):
    with pytest.raises(NotFoundError):
        publish("nobody", PublishRequest(SERVER), house)
    assert tracking.models == set()


def test_no_server_is_said(house, version, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SpecError, match="Which tracking server"):
        publish("digits:1", PublishRequest(), house)
