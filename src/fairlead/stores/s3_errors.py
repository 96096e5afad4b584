"""What the errors of a store that speaks S3 mean here.

Takes boto3's errors; raises StoreAwayError, NoSpaceError, NotFoundError for an object, and StorageError for the rest. Shows no credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - boto3's own
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from fairlead.errors import NoSpaceError, NotFoundError, StorageError, StoreAwayError

_REFUSALS = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})
_BUSY = frozenset({"SlowDown", "Throttling", "TooManyRequests", "RequestTimeout", "ServiceUnavailable", "InternalError"})
_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
_LOOK = "It was tried several times: see whether it runs and can be reached from here."


@dataclass(frozen=True)
class S3Place:
    """A bucket, what all keys begin with, and the store's address ("" for Amazon's)."""

    bucket: str
    prefix: str
    endpoint: str

    @property
    def shown(self) -> str:
        """What a person is shown."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@contextmanager
def typed_errors(doing: str, place: S3Place) -> Iterator[None]:
    """Turn boto3's errors of the block into ours, which say what Fairlead was `doing`."""
    try:
        yield
    except ClientError as error:
        raise _answered(error, doing, place) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(f"There are no credentials for {place.shown}.", hint=_CREDENTIALS) from error
    except NoRegionError as error:
        raise StorageError(f"There is no region for {place.shown}.", hint="Set AWS_DEFAULT_REGION, or FAIRLEAD_S3_ENDPOINT.") from error
    except (HTTPClientError, ConnectionError, IncompleteReadError) as error:
        raise StoreAwayError(f"The store {place.shown} cannot be reached, or does not answer: {doing} failed.", hint=_LOOK) from error
    except BotoCoreError as error:
        raise StorageError(
            f"The store {place.shown} cannot be used: {error}.", hint="Look at FAIRLEAD_BLOBS and FAIRLEAD_S3_ENDPOINT."
        ) from error


def _answered(error: ClientError, doing: str, place: S3Place) -> StorageError | NotFoundError:
    """Return the error for what the store answered."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return StorageError(f"There is no bucket '{place.bucket}'.", hint="Make it, or name another in FAIRLEAD_BLOBS.")
    if code in {"NoSuchKey", "404"}:
        return NotFoundError(f"The store {place.shown} does not have that.")
    if code in _REFUSALS:
        return StorageError(
            f"The store {place.shown} refuses {doing}: {code}.", hint=f"{_CREDENTIALS} They need rights to read, write, list and delete."
        )
    if code in _FULL or status == 507:
        return NoSpaceError(f"No space is left for {doing}.", hint=f"Free space (or quota) of {place.shown} and do it again.")
    if code in _BUSY or status >= 500 or status == 429:
        return StoreAwayError(f"The store {place.shown} fails or is overloaded ({code or status}): {doing} failed.", hint=_LOOK)
    return StorageError(
        f"The store {place.shown} refuses {doing}: {code or status}.", hint="Look at FAIRLEAD_BLOBS and FAIRLEAD_S3_ENDPOINT."
    )
