"""How Fairlead is connected with a store that speaks S3: where it is, and one client for each process.

Takes s3://bucket/prefix and an endpoint; gives a place and boto3's client. Raises SpecError for what is no address, StorageError where
there are no credentials. Tries are bounded, in number and time.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from fairlead.errors import SpecError
from fairlead.stores.s3_errors import S3Place, typed_errors

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,512}")
_TRIES = 4


class S3Connection:
    """The way to `place`. Safe for several threads and processes."""

    def __init__(self, place: S3Place, connect_limit_s: float = 5.0, read_limit_s: float = 20.0) -> None:
        self._place = place
        self._limits = (connect_limit_s, read_limit_s)
        self._lock = threading.Lock()
        self._clients: dict[int, Any] = {}

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        with self._lock:
            client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    @property
    def client(self) -> Any:
        """The client of this process: one that a fork inherited would share its parent's connections."""
        with self._lock:
            if os.getpid() not in self._clients:
                connect_s, read_s = self._limits
                config = Config(
                    connect_timeout=connect_s,
                    read_timeout=read_s,
                    retries={"total_max_attempts": _TRIES, "mode": "standard"},
                    max_pool_connections=8,
                    tcp_keepalive=True,
                    s3={"addressing_style": "path" if self._place.endpoint else "auto"},
                    # What a store other than Amazon's need not understand is left out: digests are compared here.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                with typed_errors("opening the store", self._place):
                    session = boto3.session.Session()
                    region = session.region_name or ("us-east-1" if self._place.endpoint else None)
                    self._clients = {
                        os.getpid(): session.client("s3", endpoint_url=self._place.endpoint or None, config=config, region_name=region)
                    }
            return self._clients[os.getpid()]


def parse_place(url: str, endpoint: str) -> S3Place:
    """Return the bucket and the prefix that a URL names; raises SpecError."""
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if parts.scheme != "s3" or not _BUCKET.fullmatch(bucket) or not _PREFIX.fullmatch(prefix) or parts.query or "//" in prefix:
        raise SpecError(f"'{url[:80]}' does not say which bucket.", hint="Write it like s3://bucket/prefix.")
    if endpoint and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise SpecError("The store's endpoint is not a URL.", hint="Write it like https://storage.example.com.")
    return S3Place(bucket, prefix, endpoint)
