"""Where spans are sent, read from settings. Raises SpecError for what is no URL, or no list of headers; never says what a header holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from fairlead.errors import SpecError

_PATH = "/v1/traces"
_PORTS = {"http": 80, "https": 443}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class OtlpTarget:
    """`endpoint` is a URL; without a path, spans go to /v1/traces. `headers` go with every post; they may hold a key."""

    endpoint: str
    service: str
    release: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Address:
    """An endpoint, taken apart."""

    host: str
    port: int
    path: str
    is_secure: bool


def read_endpoint(url: str) -> Address:
    """Return the parts of a collector's URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise _no_url() from None
    if port is None or parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise _no_url()
    path = parts.path if parts.path not in {"", "/"} else _PATH
    return Address(parts.hostname, port, path + (f"?{parts.query}" if parts.query else ""), parts.scheme == "https")


def read_headers(text: str) -> dict[str, str]:
    """Read name=value pairs, divided by commas and percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    headers = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = pair.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if not separator or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise SpecError("The setting otlp_headers is not a list of headers.", hint="Write name=value,name=value, percent-encoded.")
        headers[name] = value
    return headers


def _no_url() -> SpecError:
    return SpecError("The setting otlp_endpoint is not the URL of a collector.", hint="For example http://127.0.0.1:4318")
