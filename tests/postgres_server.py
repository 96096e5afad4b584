"""PostgreSQL itself, started for tests from the system's own installation, as a user without rights, on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

USER, PASSWORD, DATABASE = "keeper", "p@ss:w/rd", "registry"
_START_S = 60.0


def find_binaries() -> Path | None:
    """Return the folder with initdb and postgres; None where PostgreSQL is not installed."""
    found = [path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if (path / "initdb").exists()]
    named = shutil.which("initdb")
    return found[0] if found else Path(named).parent if named else None


class PostgresServer:
    """A server whose data lie in a folder of their own. `start` and `stop` any number of times; the port stays the same."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self.folder = binaries, folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        own(secret)
        self._run(
            "initdb", "-D", self._data, "-U", USER, "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"
        )

    def url(self, schema: str = "fairlead", *, port: int | None = None) -> str:
        """Return the URL of a registry in a schema of its own; `port` is that of a proxy in front."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port or self.port}/{DATABASE}?schema={schema}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 60,
            "shared_buffers": "16MB",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "logging_collector": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL, **unprivileged()
        )
        log.close()
        deadline = time.monotonic() + _START_S
        while self._run("pg_isready", "-h", self.folder, "-p", self.port, "-q", may_fail=True):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions at once, SIGKILL (of every process of it) is a crash."""
        if self._process is None:
            return
        children = children_of(self._process.pid) if how is signal.SIGKILL else ()
        self._process.send_signal(how)  # the first one first: it would begin to recover where it finds a child killed
        for child in children:
            with suppress(ProcessLookupError):  # gone by itself meanwhile
                os.kill(child, signal.SIGKILL)
        self._process.wait(timeout=60)
        self._process = None

    def signal_all(self, what: signal.Signals) -> None:
        """Send a signal to every process of the server: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process is not None
        for process in (self._process.pid, *children_of(self._process.pid)):
            with suppress(ProcessLookupError):  # a session that ended by itself meanwhile
                os.kill(process, what)

    def connection_count(self) -> int:
        """Return how many clients are connected over TCP."""
        assert self._process is not None
        return len([child for child in children_of(self._process.pid) if b"127.0.0.1(" in Path(f"/proc/{child}/cmdline").read_bytes()])

    def create_database(self) -> None:
        """Make the database that `url` names."""
        environment = {"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]}
        self._run("createdb", "-h", self.folder, "-p", self.port, "-U", USER, DATABASE, environment=environment)

    def _run(self, program: str, *arguments: object, may_fail: bool = False, environment: dict[str, str] | None = None) -> int:
        command = [str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, cwd=self.folder, env=environment, **unprivileged())
        if done.returncode and not may_fail:
            raise RuntimeError(f"{program} failed: {done.stderr.decode()[-2000:]}")
        return done.returncode


@contextmanager
def postgres_server(binaries: Path) -> Iterator[PostgresServer]:
    """Run a server for the block."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as place:
        own(Path(place))
        server = PostgresServer(binaries, Path(place))
        server.start()
        try:
            server.create_database()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def unprivileged() -> dict[str, int]:
    """Return what makes a child run without rights, where this process has them: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    """Give a file to the user as whom the server runs."""
    if os.getuid() == 0:
        account = pwd.getpwnam("nobody")
        os.chown(path, account.pw_uid, account.pw_gid)


def children_of(process: int) -> list[int]:
    """Return the direct children of a process."""
    return [int(word) for task in Path(f"/proc/{process}/task").iterdir() for word in (task / "children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
