"""The observation log's files in a store that speaks S3: each is an object, whole or not there.

Takes paths and bytes; gives files to read. Raises NotFoundError, NoSpaceError, StorageError, and StoreAwayError after some tries.
What was sent is checked by the store with its SHA-256; what comes back has checksums of its own (see prediction_log_columns).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fairlead.stores.s3_connection import S3Connection, parse_place
from fairlead.stores.s3_errors import typed_errors

if TYPE_CHECKING:
    import pyarrow as pa


class LogBucket:
    """Files below `url` (s3://bucket/prefix); `endpoint` is the store's address where it is not Amazon's."""

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        self._place = parse_place(url, endpoint)
        self._connection = S3Connection(self._place)

    @property
    def shown(self) -> str:
        """Where it is, for a person."""
        return self._place.shown

    def list(self, beginning: str = "") -> Iterator[tuple[str, int]]:
        """Yield the path and size of every file below `beginning`, a folder, in order."""
        start = self._key(f"{beginning}/" if beginning else "")
        with typed_errors("listing the observations", self._place):
            pages = self._connection.client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=start)
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"].removeprefix(self._key("")), item["Size"]

    def open(self, path: str) -> pa.NativeFile:
        """Fetch a file for reading: they are a few MiB at most."""
        import pyarrow as pa  # noqa: PLC0415 - who only writes does without Arrow, which takes 40 MB

        with typed_errors("reading the observations", self._place):
            answer = self._connection.client.get_object(Bucket=self._place.bucket, Key=self._key(path))
            return pa.BufferReader(answer["Body"].read())

    def write(self, path: str, *parts: bytes | memoryview) -> None:
        """Write a file of the parts, durably when it returns."""
        content = b"".join(parts)
        checked = b64encode(hashlib.sha256(content).digest()).decode()
        with typed_errors("the observations", self._place):
            self._connection.client.put_object(Bucket=self._place.bucket, Key=self._key(path), Body=content, ChecksumSHA256=checked)

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is absent."""
        with typed_errors("removing observations", self._place):
            self._connection.client.delete_object(Bucket=self._place.bucket, Key=self._key(path))

    def sweep(self, *, older_than_s: float) -> int:
        """Remove nothing: an object that was not sent whole is not there."""
        del older_than_s
        return 0

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._connection.close()

    def _key(self, path: str) -> str:
        return f"{self._place.prefix}/{path}" if self._place.prefix else path
