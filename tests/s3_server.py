"""moto's server, which speaks S3, in a thread: for tests of what stores blobs there."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_DEFAULT_REGION": "us-east-1"}
_buckets = itertools.count(1)


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"models-{os.getpid()}-{next(_buckets)}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()
        return name

    def client(self):
        """Return boto3's own client, to look at what lies in a bucket."""
        import boto3

        return boto3.session.Session().client("s3", endpoint_url=self.endpoint)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server for the block."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
