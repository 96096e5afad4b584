"""A server of one model that speaks gRPC, and a client that speaks HTTP/2 frame by frame."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "hostile"))  # http2_peer.py, which the attacks use, too

import http2_peer


@pytest.fixture(scope="module")
def served():
    with http2_peer.server() as running:
        yield running


@pytest.fixture
def address(served) -> str:
    return served.server.grpc_address


@pytest.fixture
def peer(address):
    with http2_peer.Peer(address) as connected:
        yield connected
