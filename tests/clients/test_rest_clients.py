"""Other projects' REST clients, unchanged and each in a process of its own, against a running server."""

from __future__ import annotations

import importlib.util
import sys

import pytest


def check(results) -> None:
    assert results
    failed = [f"{result['name']}: {result['problem']}" for result in results if result["problem"]]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


def test_tritonclient_over_http_works_unchanged(server, run_client) -> None:
    check(run_client("triton_http.py", server.url.removeprefix("http://")))


def test_the_kserve_client_works_unchanged(server, run_client) -> None:
    check(run_client("kserve_rest.py", server.url))


def test_mlservers_codecs_and_command_line_work_unchanged(server, run_client) -> None:
    check(run_client("mlserver_rest.py", server.url))


@pytest.mark.slow  # MLflow takes seconds to import
def test_mlflows_scoring_client_works_unchanged(server, run_client) -> None:
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("pandas") is None:  # as with mlflow-skinny
        pytest.skip("MLflow is not installed")
    check(run_client("mlflow_scoring.py", server.url, python=sys.executable))
