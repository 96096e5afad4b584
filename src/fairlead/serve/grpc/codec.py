"""Messages of the small methods, by name, to bytes and back. Raises RequestError for bytes that are not the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from fairlead.serve.grpc.schema import HEALTH_MESSAGES, MESSAGES
from fairlead.serve.grpc.wire import broken


def decode(name: str, content: bytes) -> Any:
    """Return the message called `name` that `content` is."""
    try:
        return _class(name).FromString(content)
    except DecodeError:
        raise broken() from None


def encode(kind: str, /, **fields: Any) -> bytes:
    """Return the bytes of a message with these fields."""
    content: bytes = _class(kind)(**fields).SerializeToString()
    return content


def from_json(name: str, value: Mapping[str, Any]) -> bytes:
    """Return the bytes of the message that `value`, made by us, says in the protocol's JSON; what the message does not know is left out."""
    message: Any = ParseDict(value, _class(name)(), ignore_unknown_fields=True)
    content: bytes = message.SerializeToString()
    return content


def _class(name: str) -> type[Message]:
    return MESSAGES.get(name) or HEALTH_MESSAGES[name]
