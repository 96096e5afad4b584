"""Which port gRPC gets: what was said, or the one above HTTP's."""

from __future__ import annotations

import pytest

from fairlead.app.serving import grpc_port
from fairlead.errors import SpecError


@pytest.mark.parametrize(
    ("text", "http_port", "port"),
    [("", 8080, 8081), ("", 0, 0), ("", 65535, 65535), ("none", 8080, None), ("0", 8080, 0), ("9001", 8080, 9001)],
)
def test_the_port_is_what_was_said_or_the_next(text, http_port, port):
    assert grpc_port(text, http_port) == port


@pytest.mark.parametrize("text", ["65536", "-1", "http", "8.1", "\x1b[31m"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(SpecError, match="no port for gRPC"):
        grpc_port(text, 8080)
