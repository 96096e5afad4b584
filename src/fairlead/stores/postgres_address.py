"""Where a PostgreSQL registry is, from its URL: postgresql://user:password@host:5432/database?sslmode=verify-full&schema=fairlead.

Takes the URL and gives a PostgresAddress; raises SpecError. The password is never part of a text that is shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from fairlead.errors import SpecError

SCHEMES = ("postgresql", "postgres")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_MODES = ("disable", "require", "verify-full")
_OPTIONS = ("sslmode", "sslrootcert", "schema", "host")
_HINT = "Write it like postgresql://user:password@host:5432/database."


@dataclass(frozen=True)
class PostgresAddress:
    """A server, a database and the schema in it. `socket_folder` is where a server on this machine has its socket, in place of a host.

    `ssl_mode` is disable, require (encrypted, whoever answers) or verify-full (encrypted, and the certificate is for `host`).
    """

    host: str
    port: int
    user: str
    database: str
    schema: str
    ssl_mode: str
    ssl_root: Path | None = None
    socket_folder: Path | None = None
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """What a person is shown: without the password."""
        place = str(self.socket_folder) if self.socket_folder else f"{self.host}:{self.port}"
        return f"{self.user}@{place}/{self.database}"


def parse_address(url: str, *, password: str = "") -> PostgresAddress:
    """Parse a registry's URL; `password` is taken where it names none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 5432
    except ValueError:
        raise SpecError("The registry's URL cannot be read.", hint=_HINT) from None
    if parts.scheme not in SCHEMES:
        raise SpecError("The registry's URL does not name PostgreSQL.", hint=_HINT)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SpecError(f"The registry's URL has an unknown option '{unknown[0][:64]}'.", hint=f"Options: {', '.join(_OPTIONS)}.")
    user, database = unquote(parts.username or ""), unquote(parts.path.lstrip("/"))
    folder = Path(options["host"]) if options.get("host", "").startswith("/") else None
    if not user or not database or not (host or folder):
        raise SpecError("The registry's URL has to say user, host and database.", hint=_HINT)
    given = unquote(parts.password or "") or password
    mode = options.get("sslmode") or ("disable" if folder or _is_here(host) else "verify-full")
    schema = options.get("schema", "fairlead")
    _check(mode, schema, (user, database, given, host))
    root = Path(options["sslrootcert"]).expanduser() if "sslrootcert" in options else None
    return PostgresAddress(host, port, user, database, schema, mode, root, folder, given)


def _check(mode: str, schema: str, texts: tuple[str, ...]) -> None:
    if mode not in _MODES:
        raise SpecError(f"'{mode[:32]}' is not an sslmode of Fairlead's.", hint=f"There are {', '.join(_MODES)}.")
    if not _SCHEMA.fullmatch(schema):
        raise SpecError(f"'{schema[:64]}' cannot name a schema.", hint="Use lower-case letters, digits and '_', at most 48.")
    if any("\0" in text for text in texts):
        raise SpecError("The registry's URL holds a zero character.", hint=_HINT)


def _is_here(host: str) -> bool:
    """Whether what goes to `host` never leaves this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
