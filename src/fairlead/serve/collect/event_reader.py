"""An HTTP request to the CloudEvents that it holds: one in headers and body (binary), one in JSON (structured), or many in JSON (batch).

Takes whole requests; gives CloudEvents, of a batch in place of each that is none the error that says why. Raises UnsupportedError (media
type, encoding), TooLargeError, RequestError. Every limit is checked on bytes before a decoder sees them; data are not looked into. Form:
cloudevents.io, HTTP protocol binding and JSON event format, 1.0.
"""

from __future__ import annotations

import binascii
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from fairlead.core.cloud_event import ATTRIBUTES, CloudEvent, cloud_event
from fairlead.core.interface import shorten
from fairlead.errors import RequestError, TooLargeError, UnsupportedError
from fairlead.serve.http.body import decode, decompress
from fairlead.serve.http.decoded_size import check_json
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest

Fields: TypeAlias = dict[str, msgspec.Raw]
BATCH_LIMIT = 1000  # events
_HEADERS = {b"ce-" + name.encode(): name for name in sorted(ATTRIBUTES)}
_CLOUD = b"application/cloudevents"
_ONE, _MANY = b"application/cloudevents+json", b"application/cloudevents-batch+json"
_FIELDS = msgspec.json.Decoder(Fields)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder(str | int | float | bool | None)
_TEXT = msgspec.json.Decoder(str)
_HINT = "Point a payload logger of KServe or Seldon here; each event names itself in the headers ce-id, ce-type and ce-specversion."


def read_events(request: HttpRequest, limits: HttpLimits) -> list[CloudEvent | RequestError]:
    """Return the events of a request; of a single one, what is wrong is raised."""
    headers = request.headers
    body = decompress(headers.get(b"content-encoding", b"identity").lower(), request.body, limits.body_bytes)
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == _MANY:
        return _batch(body, limits)
    if kind == _ONE:
        check_json(body, limits.json_depth, limits.body_bytes)
        return [_structured(decode(_FIELDS, body))]
    if kind.startswith(_CLOUD):
        name = shorten(kind.decode("latin-1"))
        raise UnsupportedError(f"Events as {name} are not understood.", hint=f"Send {_ONE.decode()}, {_MANY.decode()}, or headers ce-*.")
    attributes = {name: _header(headers[header]) for header, name in _HEADERS.items() if header in headers}
    if not attributes:
        raise RequestError("This is no CloudEvent.", hint=_HINT)
    return [cloud_event(attributes, bytes(body))]


def _header(value: bytes) -> str:
    """Return a header's value; what a header cannot hold is percent-encoded in it."""
    text = value.decode("utf-8", "replace")
    return unquote(text) if "%" in text else text


def _batch(body: bytes | bytearray, limits: HttpLimits) -> list[CloudEvent | RequestError]:
    check_json(body, limits.json_depth, limits.body_bytes)
    items = decode(_LIST, body)
    if len(items) > BATCH_LIMIT:
        raise TooLargeError(f"{len(items)} events in one batch are more than {BATCH_LIMIT}, the limit.", hint="Send several batches.")
    found: list[CloudEvent | RequestError] = []
    for item in items:
        try:
            found.append(_structured(decode(_FIELDS, bytes(item))))
        except RequestError as error:
            found.append(error)
    return found


def _structured(fields: Fields) -> CloudEvent:
    attributes: dict[str, str] = {}
    for name, raw in fields.items():
        if name not in {"data", "data_base64"}:
            value = _value(name, raw)
            if value is not None:
                attributes[name.lower()] = value
    return cloud_event(attributes, _data(fields, attributes))


def _value(name: str, raw: msgspec.Raw) -> str | None:
    try:
        value = _VALUE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError(f"The event's '{shorten(name)}' is no text, number or truth value.") from None
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _data(fields: Fields, attributes: dict[str, str]) -> bytes:
    """Return the data: JSON as it stands, a text's characters, or what was sent in base64."""
    if "data" in fields and "data_base64" in fields:
        raise RequestError("The event has data and data_base64.", hint="Send one of them.")
    encoded: Any = fields.get("data_base64")
    if encoded is not None:
        return _from_base64(decode(_TEXT, bytes(encoded)))
    data = bytes(fields.get("data", b""))
    if data.startswith(b'"'):  # a text, which may hold JSON that was written by itself
        text = decode(_TEXT, data)
        return _from_base64(text) if attributes.get("datacontentencoding") == "base64" else text.encode()  # so it is in version 0.3
    return data


def _from_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise RequestError("The event's data are not in base64.") from None
