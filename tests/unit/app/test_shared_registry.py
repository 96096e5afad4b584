"""A registry that settings or options name: the house that is built from it, what doctor says of it, and no password in any word."""

from __future__ import annotations

import json
import os

import pytest
import registered

from fairlead.app.store_states import store_states
from fairlead.app.wiring import build_house, settings_for
from fairlead.cli.main import run
from fairlead.errors import SpecError, StorageError, StoreAwayError, UnsupportedError
from fairlead.settings import load_settings
from fairlead.stores import postgres_schema


@pytest.fixture
def shared(postgres, s3, monkeypatch, request):
    """Settings of a registry in PostgreSQL and S3."""
    monkeypatch.setenv("FAIRLEAD_REGISTRY", postgres.url(f"house_{abs(hash(request.node.name)) % 10**8}"))
    monkeypatch.setenv("FAIRLEAD_BLOBS", f"s3://{s3.new_bucket()}")
    monkeypatch.setenv("FAIRLEAD_S3_ENDPOINT", s3.endpoint)
    houses = []

    def open_house(home=None):
        houses.append(build_house(home))
        return houses[-1]

    yield open_house
    for house in houses:
        house.records.close()
        house.blobs.close()


def test_what_one_machine_registers_another_one_loads(shared, tmp_path, capfd):
    one, other = shared(tmp_path / "one"), shared(tmp_path / "other")
    registered.add_version(one, "pets", registered.classifier(tmp_path / "pets.onnx"))
    assert other.records.latest("pets").label == "pets:1"
    assert run(["show", "pets", "--home", str(tmp_path / "third"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["version"]["name"] == "pets"


def test_the_doctor_says_whether_the_stores_can_be_reached(shared, postgres):
    states = store_states(load_settings())
    assert states["records"].found.startswith("PostgreSQL ")
    assert "nothing is in it yet" in states["records"].found
    assert states["blobs"].found.startswith("s3://")
    assert not any(state.problem for state in states.values())
    shared()
    assert f"format {max(postgres_schema.MIGRATIONS)}" in store_states(load_settings())["records"].found


def test_the_doctor_says_what_is_wrong_with_the_stores(monkeypatch):
    pytest.importorskip("pg8000")
    monkeypatch.setenv("FAIRLEAD_REGISTRY", "postgresql://ann:hush-hush@127.0.0.1:1/registry")
    states = store_states(load_settings())
    assert "cannot be reached" in states["records"].problem
    assert "other machines do not see them" in states["blobs"].cure
    assert "hush" not in repr(states)


def test_nothing_is_said_of_stores_where_everything_is_in_the_home_folder():
    assert store_states(load_settings({})) == {}


def test_an_option_is_the_setting_for_one_run(monkeypatch, capfd):
    pytest.importorskip("pg8000")
    monkeypatch.setenv("FAIRLEAD_REGISTRY", "postgresql://ann@127.0.0.1:2/registry")
    assert run(["models", "--registry", "postgresql://bob:hush-hush@127.0.0.1:1/other"]) == 9
    said = capfd.readouterr().err
    assert "bob@127.0.0.1:1/other cannot be reached" in said
    assert "hush" not in said
    assert os.environ["FAIRLEAD_REGISTRY"] == "postgresql://ann@127.0.0.1:2/registry"


def test_blobs_can_be_in_another_folder(tmp_path):
    house = build_house(tmp_path / "home", blobs=str(tmp_path / "files"))
    registered.add_version(house, "pets", registered.classifier(tmp_path / "pets.onnx"))
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert not (tmp_path / "home" / "blobs").exists()


@pytest.mark.parametrize(
    ("registry", "blobs", "error"),
    [
        ("/mnt/registry", None, SpecError),
        ("mysql://ann:hush-hush@host/registry", None, UnsupportedError),
        ("postgresql://ann:hush-hush@host", None, SpecError),
        ("postgresql://host/registry?password=hush-hush", None, SpecError),
        ("postgresql://ann:hush-hush@host:port/registry", None, SpecError),
        ("postgresql://ann:hush-hush@127.0.0.1:1/registry?sslmode=maybe", None, SpecError),
        ("postgresql://ann:hush-hush@127.0.0.1:1/registry", None, StoreAwayError),
        ("", "gs://bucket", UnsupportedError),
        ("", "s3://B", SpecError),
        ("", "s3://bucket/a//b", SpecError),
    ],
)
def test_what_names_no_store_is_refused_without_its_password(tmp_path, registry, blobs, error):
    for library in ("pg8000", "boto3"):
        pytest.importorskip(library)
    with pytest.raises(error) as caught:
        build_house(tmp_path, registry, blobs)
    assert isinstance(caught.value, StorageError | SpecError | UnsupportedError)
    assert "hush" not in str(caught.value)


def test_settings_that_are_printed_hide_what_may_hold_a_password(monkeypatch):
    monkeypatch.setenv("FAIRLEAD_REGISTRY", "postgresql://ann:hush-hush@host/registry")
    monkeypatch.setenv("FAIRLEAD_OTLP_HEADERS", "api-key=hush-hush")
    assert "hush" not in repr(settings_for(None))
