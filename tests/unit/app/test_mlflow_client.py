"""The door to a tracking server: which one, and what its errors mean."""

from __future__ import annotations

import os
import sys

import pytest

from fairlead.app.mlflow_client import VARIABLE, open_client, server_errors, tracking_uri_of
from fairlead.errors import ConflictError, EnvironmentalError, MissingExtraError, NotFoundError, SpecError

SERVER = "http://127.0.0.1:5000"


def test_the_server_that_is_named_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv(VARIABLE, "http://127.0.0.1:1")
    assert tracking_uri_of(SERVER) == SERVER
    assert tracking_uri_of("") == "http://127.0.0.1:1"


def test_no_server_at_all_is_said_with_both_ways(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SpecError, match=f"--tracking-uri.*{VARIABLE}"):
        tracking_uri_of("")


def test_without_mlflow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match="mlflow"):
        open_client(SERVER)


def test_mlflow_is_opened_without_telemetry_and_on_the_server(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    before = mlflow.get_tracking_uri()
    try:
        client = open_client(SERVER)
        assert (client.tracking_uri, mlflow.get_tracking_uri()) == (SERVER, SERVER)
    finally:
        mlflow.set_tracking_uri(before)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        ("Model 'x' is not there", "RESOURCE_DOES_NOT_EXIST", NotFoundError),
        ("Registered model alias x not found.", "INVALID_PARAMETER_VALUE", NotFoundError),
        ("Model 'x' is there already", "RESOURCE_ALREADY_EXISTS", ConflictError),
        ("HTTPConnectionPool: Max retries exceeded with url", "INTERNAL_ERROR", EnvironmentalError),
        ("something broke\nwith a second line", "INTERNAL_ERROR", EnvironmentalError),
    ],
)
def test_what_the_server_says_becomes_an_error_of_ours(message, code, kind):
    exceptions = pytest.importorskip("mlflow.exceptions")
    databricks = pytest.importorskip("mlflow.protos.databricks_pb2")
    with pytest.raises(kind) as caught, server_errors(SERVER):
        raise exceptions.MlflowException(message, error_code=databricks.ErrorCode.Value(code))
    assert "second line" not in str(caught.value)


@pytest.mark.parametrize("name", ["ConnectionError", "Timeout"])
def test_a_server_that_does_not_answer_is_named(name):
    pytest.importorskip("mlflow")
    requests = pytest.importorskip("requests")
    with pytest.raises(EnvironmentalError, match=f"{SERVER} does not answer"), server_errors(SERVER):
        raise getattr(requests.exceptions, name)


def test_errors_of_ours_pass_through_as_they_are():
    pytest.importorskip("mlflow")
    with pytest.raises(NotFoundError, match="as it was"), server_errors(SERVER):
        raise NotFoundError("as it was")
