"""Which request goes to which handler, as data: method, pattern, permission.

Every route names the permission that it needs, so that a later check stands in one place and a test can walk them all. Takes a request
target; gives the route with its path parameters. Raises nothing: no match and a wrong method are answers.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from fairlead.serve.http.message import HttpRequest, Reply, error_reply

_CACHE_LIMIT = 1024


class Permission(enum.StrEnum):
    """What a caller has to be allowed to do."""

    HEALTH = "health"  # probes: nothing about models
    VIEW = "view"  # names, interfaces, states
    INFER = "infer"
    METRICS = "metrics"  # what is asked how often, for scrapers
    OPERATE = "operate"  # load and unload models


class Accepts(enum.Enum):
    """What a route takes as a body."""

    NOTHING = "nothing"
    JSON = "json"
    OPTIONAL_JSON = "optional json"
    TENSORS = "json, raw tensors behind it"
    TABLE = "json or csv"


class Call(msgspec.Struct, frozen=True):
    """A routed request: its path parameters and its body. `text` is the checked JSON, or CSV if `is_csv`; `binary` is what stands behind
    the JSON where the request says that raw tensors do.
    """

    request: HttpRequest
    parameters: Mapping[str, str]
    text: bytes | bytearray = b""
    binary: memoryview | None = None
    is_csv: bool = False


Handler = Callable[[Call], Coroutine[Any, Any, Reply]]


@dataclass(frozen=True)
class Route:
    """`pattern` is a path with {parameters}; `{name}` matches anything but slashes and colons. `summary` is for the OpenAPI document."""

    method: str
    pattern: str
    permission: Permission
    handler: Handler
    summary: str
    accepts: Accepts = Accepts.NOTHING

    @property
    def expression(self) -> re.Pattern[str]:
        """The pattern as a regular expression."""
        return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/:]+)", re.escape(self.pattern)))


@dataclass(frozen=True, slots=True)
class Match:
    """The route for a target (None: the path is unknown, or not for this method) and what the path allows."""

    route: Route | None
    parameters: Mapping[str, str]
    allowed: tuple[str, ...] = ()


class Router:
    """Finds routes; remembers what it found for targets that exist."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._expressions = [(route.expression, route) for route in self.routes]
        self._found: dict[tuple[bytes, bytes], Match] = {}

    def match(self, method: bytes, target: bytes) -> Match:
        """Return the route for a raw request target; HEAD goes where GET goes."""
        found = self._found.get((method, target))
        if found is None:
            found = self._search("GET" if method == b"HEAD" else method.decode("ascii"), _path(target))
            if found.route is not None:
                if len(self._found) >= _CACHE_LIMIT:
                    self._found.clear()
                self._found[method, target] = found
        return found

    def _search(self, method: str, path: str | None) -> Match:
        allowed: list[str] = []
        for expression, route in self._expressions if path is not None else ():
            match = expression.fullmatch(path or "")
            if match is not None:
                if route.method == method:
                    parameters = {key: _unquote(value) for key, value in match.groupdict().items()}
                    return Match(route, parameters)
                allowed += [route.method, "HEAD"] if route.method == "GET" else [route.method]
        return Match(None, {}, tuple(sorted(set(allowed))))


def nowhere(match: Match, hint: str) -> Reply:
    """Return the reply where there is no route: 405 where the path takes other methods, else 404 with a hint."""
    if match.allowed:
        allow = b"allow: " + ", ".join(match.allowed).encode("ascii")
        return error_reply(405, f"This path takes {' and '.join(match.allowed)} only.", (allow,))
    return error_reply(404, f"There is nothing at this path. {hint}")


def _path(target: bytes) -> str | None:
    """Return the path of an origin-form or absolute-form target without its query, still quoted; None where there is none."""
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in {b"http", b"https"}:
            return None
        target = b"/" + rest.partition(b"/")[2]
    return target.partition(b"?")[0].partition(b"#")[0].decode("latin-1")


def _unquote(segment: str) -> str:
    """Undo percent-encoding once. What is not UTF-8 becomes replacement characters, which no name has."""
    return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8", "replace") if "%" in segment else segment
