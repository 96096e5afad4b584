"""An object of a store that speaks S3, read as a file. A download that breaks off is taken up again where it broke.

Raises NotFoundError where the object is not there, StoreAwayError where the store breaks off too often, StorageError.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from urllib3.exceptions import HTTPError

from fairlead.errors import StoreAwayError
from fairlead.stores.s3_errors import S3Place, typed_errors

_RESUMES = 3
_DOING = "reading a file of the version"


class Download:
    """The bytes of the object `key`, from its beginning. Use it in a `with` block; one thread at a time."""

    def __init__(self, client: Any, place: S3Place, key: str) -> None:
        self._client, self._place, self._key = client, place, key
        self._offset, self._size_bytes, self._left = 0, 0, _RESUMES
        self._etag = ""
        self._body: Any = None

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._body is not None:
            self._body.close()

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes (all that is left for -1), fewer only at the end."""
        parts: list[bytes] = []
        wanted = self._size_bytes - self._offset if size < 0 else min(size, self._size_bytes - self._offset)
        while wanted > 0:
            part = self._some(wanted)
            wanted -= len(part)
            self._offset += len(part)
            parts.append(part)
        return b"".join(parts)

    def _some(self, wanted: int) -> bytes:
        """Return at least one byte; connects anew where the connection broke."""
        while True:
            cause: Exception | None = None
            try:
                with typed_errors(_DOING, self._place):
                    part: bytes = self._body.read(wanted)
            except (StoreAwayError, HTTPError, OSError) as error:
                part, cause = b"", error
            if part:
                return part
            if not self._left:
                raise StoreAwayError(
                    f"The store {self._place.shown} broke off while it gave a file of the version.", hint="Do it again later."
                ) from cause
            self._left -= 1
            self.close()
            self._begin()

    def _begin(self) -> None:
        unchanged = {"IfMatch": self._etag, "Range": f"bytes={self._offset}-"} if self._offset else {}
        with typed_errors(_DOING, self._place):
            answer = self._client.get_object(Bucket=self._place.bucket, Key=self._key, **unchanged)
        self._body, self._etag = answer["Body"], answer["ETag"]
        if not self._offset:
            self._size_bytes = int(answer["ContentLength"])
