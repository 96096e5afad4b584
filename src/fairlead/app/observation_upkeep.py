"""Has the observation log's files kept few, by a process of its own: a server has better use for the memory and the time that it takes.

Takes a House; starts `fairlead observations --compact` where the names of the files say that there is something to do, one at a time and
with low priority, and ends it with the server. Says when it failed; raises StorageError where the log cannot be listed.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from fairlead.app.observations import log_files
from fairlead.app.wiring import House
from fairlead.security.own_process import environment_without_secrets
from fairlead.stores.prediction_log_merging import is_due
from fairlead.stores.prediction_log_names import read_name

_LIMIT_S = 1800.0
_REST_S = 900.0
_END_S = 2.0
_NICENESS = 10


class Upkeep:
    """Starts and ends the process, `rest_s` seconds after it was started last at the earliest: a torn file is always something to do.

    Used by one thread. `report` is told what went wrong, once.
    """

    def __init__(self, house: House, report: Callable[[str], None], *, rest_s: float = _REST_S) -> None:
        self._house, self._report, self._rest_s = house, report, rest_s
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = -math.inf
        self._is_failing = False

    def start_where_due(self) -> bool:
        """Start it where none runs and something is to do; returns whether it was started."""
        if self._is_running() or time.monotonic() - self._started_at < self._rest_s or not self._is_due():
            return False
        self._started_at = time.monotonic()
        command = [sys.executable, "-m", "fairlead", "observations", "--compact", "--home", str(self._house.settings.home)]
        nothing = subprocess.DEVNULL
        try:
            self._child = subprocess.Popen(
                command, stdin=nothing, stdout=nothing, stderr=nothing, env=self._environment(), start_new_session=True
            )
        except OSError as error:
            self._tell(f"no process can be started ({error.strerror}).")
            return False
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICENESS)
        return True

    def close(self) -> None:
        """End it: what it was at is done by the next one."""
        if self._child is not None:
            self._end(self._child)

    def _environment(self) -> dict[str, str]:
        """Return what the process sees of ours: no secret, but for the keys of a bucket where the log is in one."""
        kept = environment_without_secrets()
        if "://" in self._house.settings.observations:
            kept |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return kept

    def _is_due(self) -> bool:
        files = [read_name(path, size) for path, size in log_files(self._house.settings).list()]
        return is_due([file for file in files if file is not None], self._house.clock())

    def _is_running(self) -> bool:
        child = self._child
        if child is None:
            return False
        status = child.poll()
        if status is None and time.monotonic() - self._started_at > _LIMIT_S:
            self._end(child)
            status = child.returncode
        if status is None:
            return True
        self._child = None
        if status:
            self._tell(f"compacting them ended with {status}. See why: fairlead observations --compact")
        self._is_failing = bool(status)
        return False

    def _tell(self, reason: str) -> None:
        if not self._is_failing:
            self._report(f"The files of observations stay many: {reason}")
        self._is_failing = True

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
