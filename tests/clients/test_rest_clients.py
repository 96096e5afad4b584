"""Other projects' REST clients, unchanged and each in a process of its own, against a running server."""

from __future__ import annotations

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
