"""A request's body: decompressed within its limit, of a media type that is understood, and not too deep to decode.

Takes the bytes as received; gives JSON text. Raises UnsupportedError (media type, encoding), TooLargeError, RequestError (damaged, too
deep, not JSON). The depth is measured on the bytes, before any decoder sees them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np

from fairlead.errors import RequestError, TooLargeError, UnsupportedError
from fairlead.serve.http.limits import HttpLimits

T = TypeVar("T")
_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # deflate in HTTP is zlib's format (RFC 9110, 8.4.1.2)
_JSON_TYPE = re.compile(rb"application/([a-z0-9.+-]+\+)?json", re.IGNORECASE)
# What curl -d says of everything, and what tritonclient says of nothing. A page in a browser can send both without asking the user, so
# they are not taken from one.
_UNLABELLED = frozenset({b"", b"application/x-www-form-urlencoded"})
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')


def read_body(headers: Mapping[bytes, bytes], body: bytes | bytearray, limits: HttpLimits) -> bytes | bytearray:
    """Return the body's JSON text, decompressed and checked for its size and depth."""
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip()
    if media_type != b"application/json" and not _JSON_TYPE.fullmatch(media_type):
        is_from_page = b"origin" in headers
        if media_type.lower() not in _UNLABELLED or is_from_page:
            raise UnsupportedError("The body's Content-Type is not understood.", hint="Send JSON as application/json.")
    encoding = headers.get(b"content-encoding")
    text = body if encoding is None else decompress(encoding.lower(), body, limits.body_bytes)
    if not text:
        raise RequestError("The request has no body.", hint="Send a JSON object.")
    if not is_within_depth(text, limits.json_depth):
        raise RequestError(f"The JSON is nested more than {limits.json_depth} levels deep, the limit.")
    return text


def decompress(encoding: bytes, body: bytes | bytearray, limit_bytes: int) -> bytes | bytearray:
    """Return `body` without its gzip or deflate encoding; never makes more than `limit_bytes`."""
    if encoding == b"identity":
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedError("The body's Content-Encoding is not understood.", hint="Use gzip or deflate, once, or none.")
    decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = decoder.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise RequestError("The compressed body is damaged.") from None
    if len(plain) > limit_bytes:
        raise TooLargeError(f"The body is larger than {limit_bytes} bytes when decompressed, the limit.", hint="Send fewer rows at once.")
    if not decoder.eof or decoder.unused_data:
        raise RequestError("The compressed body is cut off, or something follows it.")
    return plain


def is_within_depth(text: bytes | bytearray, limit: int) -> bool:
    """Whether no JSON value in `text` is nested deeper than `limit`; for text that is not JSON, either answer is safe."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return True
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    depths = np.cumsum(_STEPS[np.frombuffer(brackets, dtype=np.uint8)], dtype=np.int32)
    return depths.size == 0 or int(depths.max()) <= limit


def decode(decoder: msgspec.json.Decoder[T], text: bytes | bytearray) -> T:
    """Return what `decoder` makes of `text`; raises RequestError that says where it is not what was expected."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error) from None


def unreadable(error: Exception) -> RequestError:
    """Return the error for JSON that a decoder refused, in words for the one who sent it."""
    if isinstance(error, msgspec.ValidationError):
        return RequestError(f"The JSON does not have the form that is needed: {error}.")
    if isinstance(error, msgspec.DecodeError):
        return RequestError(f"The body is not JSON: {error}.")
    return RequestError("The body is not JSON in UTF-8." if isinstance(error, UnicodeDecodeError) else "The JSON is nested too deep.")
