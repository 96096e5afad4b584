"""Look at a running server again and again: fetch its metrics page, and say what happened in between.

Takes a URL; yields Views. Raises SpecError for what is no URL, UnavailableError where nobody answers, RequestError where what answers is no
Fairlead. It reads a bounded page within a bounded time, follows no redirects and changes nothing.
"""

from __future__ import annotations

import http.client
import time
from typing import Self

from fairlead.errors import RequestError, UnavailableError
from fairlead.monitor.live_view import View, compare
from fairlead.monitor.page import Page, read_page
from fairlead.probe.http_client import split_url, why

_TIMEOUT_S = 5.0
_PAGE_BYTES = 32 * 2**20


class Watching:
    """The looks at one server; use it as a context manager. Each `look` compares with the one before."""

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        self._where = self.url if parts.port else f"{self.url}, port {self._connection.port},"
        self._before: Page | None = None

    def look(self) -> View:
        """Return what the server does now."""
        page = self.page()
        view = compare(self._before, page, time.time())
        self._before = page
        return view

    def page(self) -> Page:
        """Return the server's metrics page."""
        try:
            self._connection.request("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4"})
            response = self._connection.getresponse()
            body = response.read(_PAGE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._before = None
            raise UnavailableError(f"{self._where} does not answer ({why(error)}).", hint="Is `fairlead serve` running there?") from error
        finally:
            self._connection.close()
        if response.status != 200 or len(body) > _PAGE_BYTES:
            raise RequestError(
                f"{self.url} has no metrics page (status {response.status}).", hint="Give the URL of a running `fairlead serve`."
            )
        return read_page(body.decode("utf-8", "replace"), time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
