"""MLflow URIs: what is one, which stores a server may send us to, and file names that come from a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fairlead.app.deploy import name_from
from fairlead.app.mlflow_source import _check_store, _download, fetch_mlflow, suggested_name
from fairlead.errors import NotFoundError, SpecError, UnsafeContentError

URIS = [
    *("models:/a/b/c", "models:/", "models:/a", "models:/a/0", "models:/../1", "runs:/x", "runs:/x/../y", "models:/a;b/1"),
    *("models:/a%2f/1", "models:/a#b/1", "models:/a?b/1", "models:/$(id)/../1", "runs:/a b/model"),
]


@dataclass
class Item:
    path: str
    is_dir: bool = False
    file_size: int = 1


@dataclass
class FakeStore:
    listing: dict

    def list_artifacts(self, path=None):
        return self.listing.get(path, [])

    def _download_file(self, remote, local):
        Path(local).write_bytes(remote.encode())


@pytest.mark.parametrize("uri", URIS)
def test_what_names_no_model_is_said_before_any_server_is_asked(uri, tmp_path):
    with pytest.raises(SpecError, match="does not name a model"):
        fetch_mlflow(uri, tmp_path / "to", tracking_uri="http://127.0.0.1:1")


def test_a_model_gets_the_name_that_it_has_there():
    assert suggested_name("models:/Churn/3") == "Churn"
    assert name_from(Path("models:/Churn@champion")) == "churn"
    assert name_from(Path("runs:/abc/forest")) == "forest"


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "..", ".", "", "a\\..\\evil", "%2e%2e%2fevil", "C:evil", "a\x00b", "sub/evil", "a\nb"]
)
def test_a_store_that_names_files_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(UnsafeContentError, match="lists a file called"):
        _download(FakeStore({None: [Item(name)]}), tmp_path / "in" / "to")
    assert not list((tmp_path / "in" / "to").rglob("*evil*"))
    assert not (tmp_path / "in" / "evil").exists()


def test_a_name_of_mlflows_own_listing_would_have_left_the_folder(tmp_path):
    (tmp_path / "to").mkdir()
    FakeStore({})._download_file("x", str(tmp_path / "to" / "../evil"))
    assert (tmp_path / "evil").exists()


def test_files_and_folders_are_downloaded(tmp_path):
    _download(FakeStore({None: [Item("MLmodel"), Item("data", is_dir=True)], "data": [Item("data/model.pt2")]}), tmp_path / "to")
    assert (tmp_path / "to/data/model.pt2").read_bytes() == b"data/model.pt2"


def test_a_folder_without_end_and_one_too_large_are_refused(tmp_path):
    class Endless(FakeStore):
        def list_artifacts(self, path=None):
            return [Item(f"{path}/a" if path else "a", is_dir=True)]

    with pytest.raises(UnsafeContentError, match="too deep"):
        _download(Endless({}), tmp_path / "deep")
    with pytest.raises(UnsafeContentError, match="too large"):
        _download(FakeStore({None: [Item("a", file_size=2**40)]}), tmp_path / "large")
    with pytest.raises(NotFoundError):
        _download(FakeStore({}), tmp_path / "nothing")


@pytest.mark.parametrize("place", ["file:///etc", "/etc", "http://169.254.169.254/latest", "ftp://attacker/x", "https://attacker/x"])
def test_a_server_elsewhere_cannot_send_us_to_this_machines_files_or_the_web(place):
    with pytest.raises(UnsafeContentError):
        _check_store(place, "https://mlflow.example")
    _check_store("mlflow-artifacts:/0/x", "https://mlflow.example")
    _check_store("/srv/mlruns/0/x", "http://127.0.0.1:5000")
