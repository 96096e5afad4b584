"""Blobs in a store that speaks S3: each lies under its SHA-256, whole or not at all, and is never changed.

    <prefix>/<digest>/<microseconds>-<random>   a blob; where it was put several times, the last one counts
    <prefix>/incoming/<random>                  puts in progress, or what is left of killed ones

Takes binary streams, gives digests and read-only streams. A put goes to `incoming` first, is read back, and gets its name only if what
comes back is what went in: whatever the network and the store did to it. Every put makes an object of its own, so that a sweep, which
removes objects that it saw to be old, never removes one that was put meanwhile.

Raises NotFoundError, NoSpaceError; StoreAwayError where the store cannot be reached or does not answer in time, after a bounded number of
tries; StorageError for the rest; InputError for what is not a digest. Credentials come from where boto3 looks for them, never shown.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from boto3.s3.transfer import TransferConfig

from fairlead.core.ports import Clock
from fairlead.errors import CorruptError, InputError, NotFoundError, StorageError
from fairlead.stores.s3_connection import S3Connection, parse_place
from fairlead.stores.s3_download import Download
from fairlead.stores.s3_errors import typed_errors

_DIGEST = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming"
_PART_BYTES = 16 * 2**20  # a store takes 10,000 parts: up to 156 GiB in one blob
_CHUNK_BYTES = 2**20
_COPY_BYTES = 4 * 2**30  # beyond 5 GiB a store copies in parts only
_FINDS = 3  # how often a blob is looked for anew that was put again while it was about to be opened


@dataclass(frozen=True)
class _Object:
    """One put of a blob: its key, and when it was put as the younger of both clocks says, the writer's and the store's."""

    key: str
    put_at: float


class S3Blobs:
    """A core.ports.BlobStore at `url` (s3://bucket/prefix). Safe for several threads, processes and machines.

    `endpoint` is the store's address where it is not Amazon's; `clock` is what ages are measured with.
    """

    def __init__(
        self, url: str, *, endpoint: str = "", clock: Clock = time.time, connect_limit_s: float = 5.0, read_limit_s: float = 20.0
    ) -> None:
        self._place = parse_place(url, endpoint)
        self._clock = clock
        self._connection = S3Connection(self._place, connect_limit_s, read_limit_s)

    def put(self, source: BinaryIO) -> str:
        """Store `source` to its end and return its digest."""
        incoming = self._key(_INCOMING, uuid.uuid4().hex)
        try:
            digest, size_bytes = self._upload(source, incoming)
            self._compare(incoming, digest, size_bytes)
            with typed_errors("storing a file of the version", self._place):
                named = self._key(digest, f"{int(max(self._clock(), 0) * 1e6):020}-{uuid.uuid4().hex}")
                self._name(incoming, named, size_bytes)
        finally:
            with suppress(StorageError):  # what cannot be removed now is swept later; the error that led here is the one to tell
                self._remove(incoming)
        with suppress(StorageError):  # they are no more needed, and do no harm
            for older in self._objects(digest):
                if older.key < named:
                    self._remove(older.key)
        return digest

    def _upload(self, source: BinaryIO, key: str) -> tuple[str, int]:
        """Send `source` to its end and return its digest and size. What was sent is there only once all of it was."""
        hasher, size_bytes = hashlib.sha256(), 0
        part = self._read(source)
        with typed_errors("storing a file of the version", self._place):
            if len(part) < _PART_BYTES:
                hasher.update(part)
                checked = _checksum(part)
                self._client.put_object(Bucket=self._place.bucket, Key=key, Body=part, ChecksumSHA256=checked)
                return hasher.hexdigest(), len(part)
        with self._parts(key) as add:
            while part:
                hasher.update(part)
                size_bytes += len(part)
                add(part)
                part = self._read(source)
        return hasher.hexdigest(), size_bytes

    def _read(self, source: BinaryIO) -> bytes:
        """Return the next part of `source`; shorter than a part only at its end."""
        part = bytearray()
        try:
            while len(part) < _PART_BYTES and (chunk := source.read(min(_CHUNK_BYTES, _PART_BYTES - len(part)))):
                part += chunk
        except OSError as error:
            raise StorageError(f"A file of the version cannot be read: {error.strerror}.", hint="Look at its disk.") from error
        return bytes(part)

    @contextmanager
    def _parts(self, key: str) -> Iterator[Any]:
        """Give what takes one part after the other; at the end of the block they become one object, or, where it raised, nothing."""
        where = {"Bucket": self._place.bucket, "Key": key}
        with typed_errors("storing a file of the version", self._place):
            upload = self._client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
        done: list[dict[str, Any]] = []

        def add(part: bytes) -> None:
            number, checked = len(done) + 1, _checksum(part)
            with typed_errors("storing a file of the version", self._place):
                answer = self._client.upload_part(**where, UploadId=upload, PartNumber=number, Body=part, ChecksumSHA256=checked)
            done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checked})

        try:
            yield add
            with typed_errors("storing a file of the version", self._place):
                self._client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": done})
        except BaseException:
            with suppress(StorageError), typed_errors("giving up", self._place):
                self._client.abort_multipart_upload(**where, UploadId=upload)
            raise

    def _compare(self, key: str, digest: str, size_bytes: int) -> None:
        """Read back what was stored; raises CorruptError unless it is what was sent."""
        hasher, read_bytes = hashlib.sha256(), 0
        with self._download(key) as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
                read_bytes += len(chunk)
        if (hasher.hexdigest(), read_bytes) != (digest, size_bytes):
            raise CorruptError(
                f"The store {self._place.shown} gives back other bytes than it was given.",
                hint="Nothing was registered. Something between here and the store changes what passes: do it again, over https.",
            )

    def _name(self, incoming: str, named: str, size_bytes: int) -> None:
        """Give the stored bytes their name. The store copies them by itself."""
        bucket = self._place.bucket
        whole = TransferConfig(multipart_threshold=_COPY_BYTES, multipart_chunksize=2**30, use_threads=False)
        self._client.copy({"Bucket": bucket, "Key": incoming}, bucket, named, Config=whole)
        if self._client.head_object(Bucket=bucket, Key=named)["ContentLength"] != size_bytes:
            self._client.delete_object(Bucket=bucket, Key=named)
            raise CorruptError(f"The store {self._place.shown} did not copy all of a file.", hint="Nothing was registered: do it again.")

    @contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        """Open the blob for reading; what is read is not checked here."""
        for left in reversed(range(_FINDS)):
            found = self._objects(digest)
            if not found:
                raise _missing(digest)
            try:
                file = self._download(found[-1].key).__enter__()
            except NotFoundError:
                if not left:
                    raise _missing(digest) from None
            else:
                break
        with file:
            yield cast("BinaryIO", file)

    def _download(self, key: str) -> Download:
        return Download(self._client, self._place, key)

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return bool(self._objects(digest))

    def delete(self, digest: str) -> None:
        """Remove the blob."""
        for item in self._objects(digest):
            self._remove(item.key)

    def list(self) -> Iterator[str]:
        """Yield every digest, in order."""
        last = ""
        for item in self._listed(""):
            digest = item.key.removeprefix(self._key("")).partition("/")[0]
            if digest != last and _DIGEST.fullmatch(digest):
                last = digest
                yield digest

    def age_s(self, digest: str) -> float:
        """Return the seconds since the blob was last put."""
        found = self._objects(digest)
        if not found:
            raise _missing(digest)
        return self._clock() - max(item.put_at for item in found)

    def discard(self, digest: str, *, older_than_s: float) -> bool:
        """Remove the blob if it is old. A put meanwhile makes an object that this does not touch."""
        found = self._objects(digest)
        if not found or any(self._clock() - item.put_at <= older_than_s for item in found):
            return False
        for item in found:
            self._remove(item.key)
        return not self.has(digest)

    def discard_unfinished(self, *, older_than_s: float) -> int:
        """Remove what interrupted puts left: whole objects without a name, and uploads in parts that never ended."""
        old = [item.key for item in self._listed(_INCOMING + "/") if self._clock() - item.put_at > older_than_s]
        for key in old:
            self._remove(key)
        return len(old) + self._abort_old(older_than_s)

    def _abort_old(self, older_than_s: float) -> int:
        where, count = {"Bucket": self._place.bucket}, 0
        with typed_errors("removing leftovers", self._place):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(**where, Prefix=self._key(_INCOMING, ""))
            for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
                if self._clock() - upload["Initiated"].timestamp() > older_than_s:
                    self._client.abort_multipart_upload(**where, Key=upload["Key"], UploadId=upload["UploadId"])
                    count += 1
        return count

    def describe(self) -> str:
        """Return where the blobs are, in a few words; raises StorageError where they cannot be reached."""
        try:
            with typed_errors("looking for the bucket", self._place):
                self._client.list_objects_v2(Bucket=self._place.bucket, Prefix=self._key(""), MaxKeys=1)
        finally:
            self.close()
        return self._place.shown + (f" at {self._place.endpoint}" if self._place.endpoint else "")

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._connection.close()

    def _objects(self, digest: str) -> tuple[_Object, ...]:
        """Return every put of a blob, oldest first."""
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest[:80]!r} is not a SHA-256 digest.")
        return tuple(self._listed(digest + "/"))

    def _listed(self, beginning: str) -> Iterator[_Object]:
        with typed_errors("listing the blobs", self._place):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=self._key(beginning))
            for page in pages:
                for item in page.get("Contents", ()):
                    stamp = item["Key"].rpartition("/")[2].partition("-")[0]
                    written_at = int(stamp) / 1e6 if stamp.isdecimal() and len(stamp) == 20 else 0.0
                    yield _Object(item["Key"], max(written_at, item["LastModified"].timestamp()))

    def _remove(self, key: str) -> None:
        with typed_errors("removing a blob", self._place):
            self._client.delete_object(Bucket=self._place.bucket, Key=key)

    def _key(self, *parts: str) -> str:
        return "/".join((self._place.prefix, *parts) if self._place.prefix else parts)

    @property
    def _client(self) -> Any:
        return self._connection.client


def _checksum(part: bytes) -> str:
    """Return the SHA-256 as S3 writes it."""
    return b64encode(hashlib.sha256(part).digest()).decode()


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(f"There is no blob {digest[:12]}.", hint="The version that needs it cannot be loaded; register it again.")
