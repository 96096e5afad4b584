"""What a Content-Type and an Accept-Encoding header say, as far as it matters here. Pure; raises nothing; remembers what it has read."""

from __future__ import annotations

import enum
import re
from functools import lru_cache

_JSON = re.compile(rb"application/([a-z0-9.+-]+\+)?json")
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([^\s;\"]*)")
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
# What curl -d says of everything, and what tritonclient says of nothing, or of everything: JSON may come under these names. A page in a
# browser can send the first two without asking the user, so they are not taken from one.
_UNLABELLED = frozenset({b"", b"application/x-www-form-urlencoded", b"application/octet-stream"})
_CODINGS = (b"gzip", b"deflate")


class MediaKind(enum.Enum):
    """What a body is said to be."""

    JSON = "json"
    UNLABELLED = "nothing in particular"
    CSV = "csv"
    OTHER = "something else"


@lru_cache(maxsize=256)
def media_kind(content_type: bytes) -> MediaKind:
    """Return what a Content-Type header says; text in another encoding than UTF-8 is something else."""
    lower = content_type.lower()
    name = lower.partition(b";")[0].strip()
    charset = _CHARSET.search(lower)
    if charset is not None and charset[1] not in _CHARSETS:
        return MediaKind.OTHER
    if _JSON.fullmatch(name):
        return MediaKind.JSON
    if name in _UNLABELLED:
        return MediaKind.UNLABELLED
    return MediaKind.CSV if name == b"text/csv" else MediaKind.OTHER


@lru_cache(maxsize=256)
def content_coding(accept_encoding: bytes) -> bytes:
    """Return gzip, deflate, or nothing where neither is wanted (RFC 9110, 12.5.3); gzip where both are equally."""
    wanted: dict[bytes, float] = {}
    for item in accept_encoding.lower().split(b","):
        coding, _, rest = item.partition(b";")
        wanted[coding.strip()] = _quality(rest)
    best = max(_CODINGS, key=lambda coding: wanted.get(coding, wanted.get(b"*", 0.0)))
    return best if wanted.get(best, wanted.get(b"*", 0.0)) > 0 else b""


def _quality(parameters: bytes) -> float:
    name, separator, value = parameters.partition(b"=")
    if not separator or name.strip() != b"q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
