"""Sends one letter by SMTP: to a server that was checked and pinned as webhooks' are, within a bounded time whatever the server says and
however slowly it says it, never a password in clear.

Takes a Postbox and a letter; returns where the server took it for every address. Raises SpecError for what is no mail server or address,
ForbiddenError (an address that is not public), UnavailableError, DeadlineError. Source: RFC 5321; the client is Python's smtplib.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import urlsplit

from fairlead.core.interface import shorten
from fairlead.errors import DeadlineError, SpecError, UnavailableError
from fairlead.security.outbound import Destination, Place, resolve

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_ADDRESS = re.compile(r"[A-Za-z0-9._%+=-]{1,64}@[A-Za-z0-9.-]{1,253}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")
_GOOD_BYE_S = 1.0
_HINT = "Write it like smtp+starttls://mail.example.com:587, smtps://... or smtp://... for one without encryption."


@dataclass(frozen=True)
class Postbox:
    """Which server, from which address to which, and who logs in ("": nobody)."""

    server: str
    sender: str
    to: tuple[str, ...]
    user: str = ""


def check_postbox(box: Postbox) -> tuple[str, str, int]:
    """Return scheme, host and port of a postbox that can be used; raises SpecError."""
    scheme, host, port = _server(box.server)
    for address in (box.sender, *box.to):
        if not _ADDRESS.fullmatch(address):
            raise SpecError(f"'{shorten(address)}' is no mail address.", hint="Write it like ops@example.com; several with commas.")
    if not box.to:
        raise SpecError("Nobody is to get the mail.", hint="Give an address: ops@example.com.")
    if box.user and scheme == "smtp":
        raise SpecError("A password would be sent in clear.", hint="Use smtp+starttls:// or smtps:// for a server that asks for one.")
    return scheme, host, port


def addresses(text: str) -> tuple[str, ...]:
    """Return the addresses in a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def send_letter(
    box: Postbox, password: str, letter: tuple[str, str], *, allow_private: bool, timeout_s: float, tls: ssl.SSLContext | None = None
) -> None:
    """Send subject and text, all of it within `timeout_s`. `tls` None trusts whom the system trusts."""
    deadline = time.monotonic() + timeout_s
    scheme, host, port = check_postbox(box)
    places = resolve(Destination(scheme, host, port, ""), allow_private=allow_private, timeout_s=timeout_s)
    context, cord = tls or ssl.create_default_context(), _Cord()
    try:
        with cord.cut_after(deadline - time.monotonic()), _client(scheme, host, port, places, context, timeout_s, cord) as client:
            if scheme == "smtp+starttls":
                client.starttls(context=context)
            if box.user:
                client.login(box.user, password)
            refused = client.send_message(_message(box, letter), box.sender, list(box.to))
    except (OSError, smtplib.SMTPException) as error:
        if cord.is_cut or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            raise _late(host, timeout_s) from None  # smtplib takes silence for an end of the connection
        raise _failed(host, error) from None
    if refused:
        raise UnavailableError(f"{host} refused {shorten(', '.join(refused))}; the others got the mail.", hint="Check the addresses.")


def _failed(host: str, error: OSError | smtplib.SMTPException) -> UnavailableError:
    if isinstance(error, smtplib.SMTPException):
        return UnavailableError(f"{host} did not take the mail: {_said(error)}.", hint="Check server, user and addresses.")
    if isinstance(error, ssl.SSLError):
        return UnavailableError(f"{host} cannot be trusted: {shorten(str(error), 200)}.", hint="Check its certificate.")
    return UnavailableError(f"{host} cannot be reached: {error.strerror or type(error).__name__}.", hint="Check that it runs.")


def _late(host: str, timeout_s: float) -> DeadlineError:
    return DeadlineError(f"{host} did not answer within {timeout_s:g} s.", hint="See what it is busy with.")


def _server(text: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        raise SpecError(f"'{shorten(text)}' is no mail server.", hint=_HINT) from None
    if scheme not in _PORTS or "@" in parts.netloc or parts.path not in ("", "/") or port == 0:
        raise SpecError(f"'{shorten(text)}' is no mail server.", hint=_HINT)
    if not (_HOST.fullmatch(host) or _HOST.fullmatch(f"[{host}]")):
        raise SpecError(f"'{shorten(host)}' is no host.", hint=_HINT)
    return scheme, host, port or _PORTS[scheme]


class _Cord:
    """Cuts a connection when its time is over. A server that says a little now and then never lets a wait for its next word run out, so
    each wait's limit bounds nothing.
    """

    def __init__(self) -> None:
        self._lock, self._held = threading.Lock(), list[socket.socket]()
        self.is_cut = False

    @contextlib.contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut what is held then, and everything that is held later."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            for connection in self._held:
                connection.close()

    def hold(self, connection: socket.socket) -> None:
        """Hold a connection, before it is connected."""
        with self._lock:
            if self.is_cut:
                raise TimeoutError
            self._held.append(connection.dup())  # encryption takes the one away

    def _cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for connection in self._held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Pinned(smtplib.SMTP):
    """Connects to the addresses that were checked, one after the other, whatever the name means by now. What the server says to good-bye
    changes nothing any more.
    """

    places: Sequence[Place]
    cord: _Cord

    def _get_socket(self, _host: str, _port: int, timeout: float | None) -> socket.socket:  # smtplib's own hook
        failed: OSError | None = None
        for family, where in self.places:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                self.cord.hold(connection)
                connection.connect(where)
                return self._wrapped(connection)
            except OSError as error:
                connection.close()
                failed = error
            except BaseException:
                connection.close()
                raise
        raise failed or ConnectionError

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if self.sock is not None:
                self.sock.settimeout(_GOOD_BYE_S)
                self.docmd("QUIT")
        self.close()

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return connection


class _PinnedTls(_Pinned):
    """Likewise, encrypted from the first byte."""

    context: ssl.SSLContext
    name: str

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        try:
            return self.context.wrap_socket(connection, server_hostname=self.name)
        except BaseException:
            connection.close()
            raise


def _client(
    scheme: str, host: str, port: int, places: Sequence[Place], context: ssl.SSLContext, timeout_s: float, cord: _Cord
) -> smtplib.SMTP:
    client: Any = (_PinnedTls if scheme == "smtps" else _Pinned)(timeout=timeout_s, local_hostname="localhost")
    client.places, client.cord, client.context, client.name = places, cord, context, host
    client._host = host  # noqa: SLF001 - the name that starttls checks the certificate against
    code, said = client.connect(host, port)
    if code != 220:
        client.close()
        raise smtplib.SMTPConnectError(code, said)
    found: smtplib.SMTP = client
    return found


def _message(box: Postbox, letter: tuple[str, str]) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = letter[0], box.sender, ", ".join(box.to)
    message["Date"], message["Message-ID"] = formatdate(localtime=False), make_msgid(domain="fairlead.invalid")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note is wanted
    message.set_content(letter[1])
    return message


def _said(error: smtplib.SMTPException) -> str:
    """Return what a server said; never a password, which no server repeats."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return shorten(f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}", 200)
    return shorten(str(error) or type(error).__name__, 200)
