"""A version in an MLflow tracking server: its folder and evidence as artifacts of a run, a model version, and an alias.

`publish` takes a reference and a PublishRequest, gives Published. Publishing the same version twice makes nothing new: it is known by its
digest. Raises what `mlflow_client` and the export raise. Changes nothing that is registered here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.app.mlflow_client import open_client, server_errors, tracking_uri_of
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, parse_reference
from fairlead.register.resolve import resolve
from fairlead.ship.stage import ship
from fairlead.stores.document import load
from fairlead.stores.version_files import materialize

DIGEST_TAG, VERDICT_TAG, VERSION_TAG = "fairlead.digest", "fairlead.verdict", "fairlead.version"
_EXPERIMENT = "fairlead"
_EVIDENCE = ("verdict.json", "plan.json", "lineage.json", "interface.json", "report.html", "card.md")


@dataclass(frozen=True)
class PublishRequest:
    """Where to: `name` is what the model is called there ("": as here), `alias` points at it ("": none)."""

    tracking_uri: str = ""
    name: str = ""
    alias: str = ""
    experiment: str = _EXPERIMENT


@dataclass(frozen=True)
class Published:
    """The version there. `is_new` is False where the same digest was there already."""

    name: str
    version: int
    run_id: str
    digest: str
    is_new: bool
    uri: str


def publish(reference: str, request: PublishRequest, house: House) -> Published:
    """Publish the version that `reference` names."""
    server = tracking_uri_of(request.tracking_uri)
    version = resolve(parse_reference(reference), records=house.records)
    name = request.name or version.name
    client = open_client(server)
    with server_errors(server):
        found = _find(client, name, version.digest)
        is_new = found is None
        if found is None:
            found = _add(client, name, version, request, house)
        if request.alias:
            client.set_registered_model_alias(name, request.alias, str(found.version))
    return Published(name, int(found.version), str(found.run_id or ""), version.digest, is_new, f"models:/{name}/{found.version}")


def _find(client: Any, name: str, digest: str) -> Any:
    """Return the oldest version there with this digest, or None."""
    quoted = name.replace("'", "")
    found = [item for item in client.search_model_versions(f"name='{quoted}'") if item.tags.get(DIGEST_TAG) == digest]
    return min(found, key=lambda item: int(item.version), default=None)


def _add(client: Any, name: str, version: Version, request: PublishRequest, house: House) -> Any:
    """1. Log folder and evidence to a run. 2. Add a version. 3. Where somebody published the same meanwhile, keep the older one."""
    files = materialize(version, house.blobs, house.loaded)
    verdict = load(files["verdict.json"].read_bytes(), Verdict)
    tags = {DIGEST_TAG: version.digest, VERDICT_TAG: "green" if verdict.is_green else "red", VERSION_TAG: version.label}
    with workspace(house) as folder:
        ship(version, files, folder / "model", layout="mlflow")
        with server_errors(tracking_uri_of(request.tracking_uri)):  # a connection that breaks is an OSError, and no matter of our disk
            run = _log(client, folder / "model", files, tags, request)
    _ensure_model(client, name)
    added = client.create_model_version(name, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id, tags=tags)
    older = _find(client, name, version.digest)
    if older is not None and int(older.version) < int(added.version):
        client.delete_model_version(name, str(added.version))
        return older
    return added


def _log(client: Any, model: Path, files: dict[str, Path], tags: dict[str, str], request: PublishRequest) -> Any:
    experiment = client.get_experiment_by_name(request.experiment)
    experiment_id = experiment.experiment_id if experiment is not None else client.create_experiment(request.experiment)
    run = client.create_run(experiment_id, tags=tags, run_name=tags[VERSION_TAG])
    status = "FAILED"
    try:
        client.log_artifacts(run.info.run_id, str(model), "model")
        for name in _EVIDENCE:
            if name in files:
                client.log_artifact(run.info.run_id, str(files[name]), "evidence")
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    return run


def _ensure_model(client: Any, name: str) -> None:
    if not client.search_registered_models(f"name='{name.replace(chr(39), '')}'"):
        client.create_registered_model(name)
