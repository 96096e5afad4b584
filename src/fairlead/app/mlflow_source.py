"""A model by its MLflow URI: models:/name/3, models:/name@champion, models:/<model id>, runs:/<run id>/<path>.

`fetch_mlflow` takes a URI, an empty folder and a tracking server; downloads the model folder and says where it came from. Raises SpecError
for what is no such URI, NotFoundError for an unknown model, UnsafeContentError for a store that names files outside of the folder or
lies elsewhere than the server may send us; see `mlflow_client` for the rest. What is downloaded is foreign: only ingest opens it.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fairlead.app.mlflow_client import open_client, server_errors, tracking_uri_of
from fairlead.core.interface import shorten
from fairlead.errors import NotFoundError, SpecError, UnsafeContentError

_NAME = r"[^\x00-\x1f/\\:;?#%@]{1,256}"
_MODEL = re.compile(rf"models:/(?P<name>{_NAME})(?:/(?P<version>[1-9][0-9]{{0,8}}|latest)|@(?P<alias>[A-Za-z0-9_-]{{1,256}}))")
_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]{32})")
_RUN = re.compile(rf"runs:/(?P<run>[A-Za-z0-9_-]{{1,64}})/(?P<path>{_NAME}(?:/{_NAME}){{0,7}})")
_FILE_LIMIT, _DEPTH_LIMIT, _SIZE_LIMIT_BYTES = 4096, 8, 4 * 2**30
# Where a server may send us for the files: its own artifact proxy, and object stores.
_STORES = frozenset({"mlflow-artifacts", "s3", "gs", "wasbs", "abfss", "hdfs"})


@dataclass(frozen=True)
class Fetched:
    """A downloaded model folder, and sentences for the lineage on where it came from."""

    folder: Path
    notes: tuple[str, ...]


def is_mlflow_uri(text: str) -> bool:
    """Whether `text` names a model in a tracking server, not a file."""
    return text.startswith(("models:/", "runs:/"))


def suggested_name(uri: str) -> str:
    """Return what a person would call the model: the registered name, or the last part of a run's path."""
    match = _MODEL.fullmatch(uri)
    return match["name"] if match else uri.rpartition("/")[2]


def fetch_mlflow(uri: str, folder: Path, *, tracking_uri: str = "") -> Fetched:
    """Download the model that `uri` names into `folder`, which is made."""
    matches = [pattern.fullmatch(uri) for pattern in (_MODEL, _LOGGED, _RUN)]
    if not any(matches) or ".." in uri.split("/"):
        raise SpecError(
            f"'{shorten(uri)}' does not name a model.",
            hint="Write models:/name/3, models:/name@alias, models:/m-<id> or runs:/<run id>/<path>.",
        )
    server = tracking_uri_of(tracking_uri)
    client = open_client(server)
    with server_errors(server):
        place, notes = _locate(client, matches)
        _check_store(place, server)
        repository = importlib.import_module("mlflow.store.artifact.artifact_repository_registry").get_artifact_repository(
            place, tracking_uri=server, registry_uri=server
        )
        _download(_innermost(repository), folder)
    return Fetched(folder, (f"from {uri} at {_without_secrets(server)}", *notes))


def _locate(client: Any, matches: list[re.Match[str] | None]) -> tuple[str, list[str]]:
    """Return the URI of the store that holds the folder, and notes."""
    model, logged, run = matches
    if logged is not None:
        found = client.get_logged_model(logged["id"])
        return str(found.artifact_location), [f"MLflow model {logged['id']} of run {found.source_run_id}"]
    if model is not None:
        version = _version(client, model)
        place = str(client.get_model_version_download_uri(model["name"], str(version.version)))
        notes = [f"MLflow version {model['name']}/{version.version} of run {version.run_id or '(none)'}"]
        inner = _LOGGED.fullmatch(place)
        return (str(client.get_logged_model(inner["id"]).artifact_location) if inner else place), notes
    if run is None:
        raise SpecError("That does not name a model.")
    outputs = client.get_run(run["run"]).outputs
    for output in outputs.model_outputs if outputs is not None else ():  # since MLflow 3 a logged model has a place of its own
        logged_model = client.get_logged_model(output.model_id)
        if logged_model.name == run["path"]:
            return str(logged_model.artifact_location), [f"MLflow model {output.model_id} of run {run['run']}"]
    return f"runs:/{run['run']}/{run['path']}", [f"MLflow run {run['run']}"]


def _version(client: Any, match: re.Match[str]) -> Any:
    if match["alias"]:
        return client.get_model_version_by_alias(match["name"], match["alias"])
    if match["version"] != "latest":
        return client.get_model_version(match["name"], match["version"])
    client.get_registered_model(match["name"])
    versions = client.search_model_versions(f"name='{match['name'].replace(chr(39), '')}'")
    if not versions:
        raise NotFoundError(f"'{match['name']}' has no versions.", hint="Register one first.")
    return max(versions, key=lambda item: int(item.version))


def _check_store(place: str, server: str) -> None:
    """Refuse a store that a server elsewhere must not send us to: this machine's files, or any web address."""
    scheme = urlsplit(place).scheme
    if scheme in _STORES or place.startswith("runs:/"):
        return
    if scheme in ("", "file") and _is_this_machine(server):
        return
    raise UnsafeContentError(
        f"The tracking server says that the model lies at '{shorten(place, 200)}'.",
        hint="Fairlead reads from the server's own artifact store (mlflow server --artifacts-destination) and from object stores.",
    )


def _is_this_machine(server: str) -> bool:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https"):
        return True  # a store that the user named by a path of this machine
    try:
        return parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _innermost(repository: Any) -> Any:
    """The repository of a run stands in front of that of its store."""
    return getattr(repository, "repo", repository)


def _download(repository: Any, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    pending, count, total = [("", 0)], 0, 0
    while pending:
        inside, depth = pending.pop()
        for item in repository.list_artifacts(inside or None):
            name = _checked_name(str(item.path), inside)
            count += 1
            total += int(item.file_size or 0)
            if count > _FILE_LIMIT or depth > _DEPTH_LIMIT or total > _SIZE_LIMIT_BYTES:
                raise UnsafeContentError("The model's folder in the store has too many files, or is too large or too deep.")
            if item.is_dir:
                pending.append((name, depth + 1))
                continue
            target = folder / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            repository._download_file(name, str(target))  # noqa: SLF001 - what every store implements; the public way follows its own listing
            if target.stat(follow_symlinks=False).st_size > _SIZE_LIMIT_BYTES:
                raise UnsafeContentError(f"'{shorten(name)}' in the store is larger than {_SIZE_LIMIT_BYTES} bytes.")
    if not count:
        raise NotFoundError("There is nothing at that place in the store.", hint="Does the run hold a model of that name?")


def _checked_name(name: str, inside: str) -> str:
    """Return `name` where it is a plain name right under the folder that was listed."""
    path = PurePosixPath(name)
    own = path.name
    is_plain = bool(own) and own not in (".", "..") and own.isprintable() and not set(own) & set("\\%:") and len(own) <= 200
    if not is_plain or path.as_posix() != (f"{inside}/{own}" if inside else own):
        raise UnsafeContentError(f"The store lists a file called '{shorten(name)}'.", hint="Do not use this store.")
    return path.as_posix()


def _without_secrets(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else server
