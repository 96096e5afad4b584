"""GET /metrics: what the server counted, in the format that the scraper asks for.

Takes a routed call; gives a reply. The page is written in pieces, with a look at other requests after each, so that a scrape of many
models keeps nobody waiting. It knows neither what is counted nor how the page looks: a MetricsSource is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from fairlead.core.server_reading import ServerReading
from fairlead.serve.http.message import Reply
from fairlead.serve.http.routes import Call

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_OPEN_METRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPEN_VERSIONS = frozenset({"", "1.0.0", "0.0.1"})  # 0.0.1 is what the same format was called before it was standardized


class MetricsSource(Protocol):
    """What writes the page."""

    def __call__(self, reading: ServerReading, *, is_open_metrics: bool) -> Iterator[bytes]:
        """Yield the page in pieces."""
        ...


class MetricsHandlers:
    """The handler of /metrics. `read` looks at the server."""

    def __init__(self, read: Callable[[], ServerReading], source: MetricsSource) -> None:
        self._read = read
        self._source = source

    async def metrics(self, call: Call) -> Reply:
        """GET /metrics."""
        is_open_metrics = prefers_open_metrics(call.request.headers.get(b"accept", b""))
        pieces = []
        for piece in self._source(self._read(), is_open_metrics=is_open_metrics):
            pieces.append(piece)
            await asyncio.sleep(0)
        return Reply(200, b"".join(pieces), _OPEN_METRICS if is_open_metrics else _TEXT)


def prefers_open_metrics(accept: bytes) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) asks for OpenMetrics by name, and not more for plain text."""
    open_quality, text_quality = 0.0, 0.0
    for item in accept.decode("latin-1").lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        quality = _quality(values.get("q", "1"))
        if media_type == "application/openmetrics-text" and values.get("version", "") in _OPEN_VERSIONS:
            open_quality = max(open_quality, quality)
        elif media_type == "text/plain":
            text_quality = max(text_quality, quality)
    return open_quality > 0 and open_quality >= text_quality


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
