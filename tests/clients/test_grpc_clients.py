"""Other projects' gRPC clients, unchanged and each in a process of its own (they register the same package), against a running server."""

from __future__ import annotations

import pytest


def check(results) -> None:
    assert results
    failed = [f"{result['name']}: {result['problem']}" for result in results if result["problem"]]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


@pytest.mark.parametrize("program", ["triton_grpc.py", "kserve_grpc.py", "mlserver_grpc.py"])
def test_the_client_works_unchanged(server, run_client, program) -> None:
    check(run_client(program, server.server.grpc_address))
