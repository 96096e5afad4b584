"""The one door by which Fairlead calls an address that somebody else gave: checked, resolved once, pinned, bounded.

`check_url` takes text and gives a Destination; `post` sends one request to it and gives the Answer's status. Raises SpecError for what is
no URL that may be called, ForbiddenError where a name means an address that is not public and nobody allowed that, UnavailableError and
DeadlineError where nobody answers in time. Never follows a redirect, never asks a proxy, never resolves a name twice, never reads more of
an answer than its head. What is public is decided on the very address that is connected to, however the URL writes it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fairlead._version import __version__
from fairlead.core.interface import shorten
from fairlead.errors import DeadlineError, ForbiddenError, SpecError, UnavailableError
from fairlead.security.public_address import Address, is_public, is_unusable

# (family, socket address) as `socket.getaddrinfo` gives them
Place = tuple[int, tuple[Any, ...]]
LookUp = Callable[[str, int], list[Place]]

URL_LIMIT = 2048
_HEAD_LIMIT_BYTES = 16_384
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_RETRY_AFTER = re.compile(rb"\nretry-after:[ \t]*([0-9]{1,6})[ \t]*\r?\n", re.IGNORECASE)
_HINT = "Write it like https://hooks.example.com/fairlead."


@dataclass(frozen=True)
class Destination:
    """A URL that may be called, taken apart: `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as a Host header says them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What came back: an HTTP status, and for how long the receiver asked to be left alone (0: it did not)."""

    status: int
    retry_after_s: float = 0.0


def check_url(url: str) -> Destination:
    """Return the parts of `url`, which is not called yet; raises SpecError."""
    if len(url) > URL_LIMIT or not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        raise SpecError(f"'{shorten(url)}' is not a URL: plain ASCII without spaces, at most {URL_LIMIT} characters.", hint=_HINT)
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        raise SpecError(f"'{shorten(url)}' is not a URL.", hint=_HINT) from None
    if scheme not in _PORTS:
        raise SpecError(f"'{shorten(scheme)}' is not a scheme that is called: only http and https are.", hint=_HINT)
    if "@" in parts.netloc:
        raise SpecError("The URL holds a user or password.", hint="Leave it out: receivers check the signature (--secret-file).")
    if parts.fragment or "#" in url:
        raise SpecError("The URL holds a fragment (#), which is never sent.", hint="Leave it out.")
    if not (_HOST.fullmatch(host) or _is_ipv6(host)) or port == 0:
        raise SpecError(f"'{shorten(parts.netloc)}' is not a host and port.", hint=_HINT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(scheme, host, port or _PORTS[scheme], target)


def resolve(destination: Destination, *, allow_private: bool, timeout_s: float, look_up: LookUp | None = None) -> tuple[Place, ...]:
    """Return where the name leads now, each place checked; raises ForbiddenError, UnavailableError, DeadlineError."""
    places = _ask(look_up or _system_look_up, destination, timeout_s)
    for _, where in places:
        address = ipaddress.ip_address(where[0])
        if is_unusable(address) or not (allow_private or is_public(address)):
            raise ForbiddenError(
                f"{_spoken(destination.host, address)} not a public address.",
                hint="Where that is meant, whoever runs Fairlead allows it: FAIRLEAD_ALLOW_PRIVATE_WEBHOOKS=1.",
            )
    if not places:
        raise UnavailableError(f"{destination.host} has no address.", hint="Check the name.")
    return tuple(places)


def post(
    destination: Destination,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    timeout_s: float,
    look_up: LookUp | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send `body` and return the answer's status, all of it within `timeout_s`. `tls` None trusts whom the system trusts."""
    deadline = time.monotonic() + timeout_s
    request = _request(destination, body, headers)
    places = resolve(destination, allow_private=allow_private, timeout_s=timeout_s, look_up=look_up)
    try:
        with _connected(destination, places, deadline, tls) as connection:
            _send(connection, request, deadline)
            return _answer(connection, destination, deadline)
    except TimeoutError:
        raise DeadlineError(f"{destination.host} did not answer within {timeout_s:g} s.", hint="See what it is busy with.") from None
    except ssl.SSLError as error:
        raise UnavailableError(
            f"{destination.host} cannot be trusted: {shorten(str(error), 200)}.", hint="Check its certificate."
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"{destination.host} cannot be reached: {error.strerror or type(error).__name__}.", hint="Check that it runs."
        ) from None


def _spoken(host: str, address: Address) -> str:
    return f"{host} is" if host == str(address) else f"{host} is {address}, which is"


def _is_ipv6(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return "%" not in host and ipaddress.ip_address(host).version == 6
    return False


def _system_look_up(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys((int(family), where) for family, _, _, _, where in found))


def _ask(look_up: LookUp, destination: Destination, timeout_s: float) -> list[Place]:
    """Look the name up in a thread of its own: the system's resolver knows no deadline."""
    found: list[Place] = []
    failed: list[OSError | UnicodeError] = []

    def work() -> None:
        try:
            found.extend(look_up(destination.host, destination.port))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="look-up", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise DeadlineError(f"The name {destination.host} was not resolved within {timeout_s:g} s.", hint="Check the name server.")
    if failed:
        raise UnavailableError(f"The name {destination.host} cannot be resolved.", hint="Check how it is written.") from None
    return found


def _request(destination: Destination, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = {
        "Host": destination.authority,
        "User-Agent": f"fairlead/{__version__}",
        "Accept": "*/*",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    for name, value in fields.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise SpecError(f"'{shorten(name)}' cannot be sent as a header.", hint="Use printable ASCII on one line.")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {destination.target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _connected(destination: Destination, places: tuple[Place, ...], deadline: float, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect to the first place that takes it, each with its part of the time that is left; raises the last one's OSError."""
    last: OSError = OSError("no address")
    for tried, (family, where) in enumerate(places):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline) / (len(places) - tried))
            connection.connect(where)
            if destination.scheme == "http":
                return connection
            connection.settimeout(_left(deadline))
            return (tls or ssl.create_default_context()).wrap_socket(connection, server_hostname=destination.host)
        except OSError as error:
            connection.close()
            last = error
    raise last


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        connection.settimeout(_left(deadline))
        view = view[connection.send(view) :]


def _answer(connection: socket.socket, destination: Destination, deadline: float) -> Answer:
    """Read the head of the answer; interim answers (1xx) are passed over."""
    head = b""
    while True:
        status = _STATUS.match(head)
        end = re.search(rb"\r?\n\r?\n", head)
        if status is not None and end is not None:
            if not status[1].startswith(b"1"):
                asked = _RETRY_AFTER.search(head[: end.end()])
                return Answer(int(status[1]), float(asked[1]) if asked else 0.0)
            head = head[end.end() :]
            continue
        connection.settimeout(_left(deadline))
        piece = connection.recv(4096) if len(head) < _HEAD_LIMIT_BYTES else b""
        if not piece:
            break
        head += piece
    if status is not None and not status[1].startswith(b"1"):
        return Answer(int(status[1]))
    raise UnavailableError(f"{destination.host} does not answer as an HTTP server does.", hint="Check host and port.")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
