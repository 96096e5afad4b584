"""A request's body: decompressed within its limit, of a media type that its route takes, and neither too deep nor too large to decode.

Takes the bytes as received; gives JSON or CSV text, and the raw tensors behind it. Raises UnsupportedError (media type, encoding),
TooLargeError, RequestError (damaged, too deep, not JSON). Depth and size are measured on the bytes, before any decoder sees them.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fairlead.errors import RequestError, TooLargeError, UnsupportedError
from fairlead.serve.http.decoded_size import check_csv, check_csv_in_steps, check_json, check_json_in_steps
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.media_type import MediaKind, media_kind
from fairlead.serve.http.routes import Accepts
from fairlead.serve.steps import LONG_BYTES, in_turn

T = TypeVar("T")
_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # deflate in HTTP is zlib's format (RFC 9110, 8.4.1.2)
_LONG_ENCODED_BYTES = 2**12  # it may become a thousand times as much
_LENGTH = re.compile(rb"[0-9]{1,12}")


class Body(msgspec.Struct, frozen=True):
    """A body that may be decoded. `binary` is what stands behind the JSON; None where the request has no such part."""

    text: bytes | bytearray
    binary: memoryview | None = None
    is_csv: bool = False


class BodyForm(msgspec.Struct, frozen=True):
    """What the head says of the body: its encoding, whether it is CSV, whether there may be none, and how many bytes of JSON stand in
    front of raw tensors: None where none do, -1 where what the head says of that is no number.
    """

    encoding: bytes = b"identity"
    is_csv: bool = False
    is_optional: bool = False
    json_bytes: int | None = None


_PLAIN = BodyForm()


def body_form(headers: Mapping[bytes, bytes], accepts: Accepts = Accepts.JSON) -> BodyForm:
    """Return what the head says of the body; raises UnsupportedError for a media type that the route does not take."""
    kind = _check_kind(headers, accepts)
    encoding = headers.get(b"content-encoding", b"identity").lower()
    length = headers.get(b"inference-header-content-length") if accepts is Accepts.TENSORS else None
    json_bytes = None if length is None else int(length) if _LENGTH.fullmatch(length) else -1
    if kind is not MediaKind.CSV and accepts is not Accepts.OPTIONAL_JSON and json_bytes is None and encoding == b"identity":
        return _PLAIN
    return BodyForm(encoding, kind is MediaKind.CSV, accepts is Accepts.OPTIONAL_JSON, json_bytes)


def read_body(form: BodyForm, body: bytes | bytearray, limits: HttpLimits) -> Body:
    """Return the body, decompressed, divided, and checked for its size and depth."""
    if form is not _PLAIN:
        body = decompress(form.encoding, body, limits.body_bytes)
    if form.is_csv:
        check_csv(body, limits.body_bytes)
        return Body(body, is_csv=True)
    if form.json_bytes is not None:
        divided = _divide(form.json_bytes, body)
        if divided.text:
            check_json(divided.text, limits.json_depth, limits.body_bytes)
        return divided
    if not body:
        if form.is_optional:
            return Body(b"{}")
        raise RequestError("The request has no body.", hint="Send a JSON object.")
    check_json(body, limits.json_depth, limits.body_bytes)
    return Body(body)


async def read_long_body(form: BodyForm, body: bytes | bytearray, limits: HttpLimits) -> Body:
    """Return what `read_body` returns, while others in the event loop have their turns."""
    if form.encoding != b"identity":
        body = await asyncio.to_thread(decompress, form.encoding, body, limits.body_bytes)
        form = BodyForm(is_csv=form.is_csv, is_optional=form.is_optional, json_bytes=form.json_bytes)
    if form.is_csv:
        await in_turn(check_csv_in_steps(body, limits.body_bytes))
        return Body(body, is_csv=True)
    if not body:
        return read_body(form, body, limits)
    whole = Body(body) if form.json_bytes is None else _divide(form.json_bytes, body)
    if whole.text:
        await in_turn(check_json_in_steps(whole.text, limits.json_depth, limits.body_bytes))
    return whole


def is_long(form: BodyForm, body: bytes | bytearray) -> bool:
    """Whether reading the body takes so long that others must have their turns meanwhile."""
    return len(body) > (LONG_BYTES if form.encoding == b"identity" else _LONG_ENCODED_BYTES)


def _check_kind(headers: Mapping[bytes, bytes], accepts: Accepts) -> MediaKind:
    kind = media_kind(headers.get(b"content-type", b""))
    if kind is MediaKind.JSON or (kind is MediaKind.UNLABELLED and b"origin" not in headers):
        return kind
    if kind is MediaKind.CSV and accepts is Accepts.TABLE:
        return kind
    hint = "Send JSON as application/json, or CSV as text/csv." if accepts is Accepts.TABLE else "Send JSON as application/json."
    raise UnsupportedError("The body's Content-Type is not understood.", hint=f"{hint} The only charset is UTF-8.")


def _divide(size: int, body: bytes | bytearray) -> Body:
    """JSON in front, raw tensors behind it; a length of 0 says that all of it is one raw tensor."""
    if not 0 <= size <= len(body):
        raise RequestError(f"Inference-Header-Content-Length is not the length of JSON in this body of {len(body)} bytes.")
    return Body(bytes(body[:size]), memoryview(body)[size:])


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


def decode(decoder: msgspec.json.Decoder[T], text: bytes | bytearray) -> T:
    """Return what `decoder` makes of `text`; raises RequestError that says where it is not what was expected."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error) from None


def convert(value: Any, kind: type[T]) -> T:
    """Return `value`, which was decoded before, as a `kind`; raises RequestError as `decode` does."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None


def unreadable(error: Exception) -> RequestError:
    """Return the error for JSON that a decoder refused, in words for the one who sent it."""
    if isinstance(error, msgspec.ValidationError):
        return RequestError(f"The JSON does not have the form that is needed: {error}.")
    if isinstance(error, msgspec.DecodeError):
        return RequestError(f"The body is not JSON: {error}.")
    return RequestError("The body is not JSON in UTF-8." if isinstance(error, UnicodeDecodeError) else "The JSON is nested too deep.")
