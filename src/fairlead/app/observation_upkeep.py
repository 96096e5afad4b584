"""Has the observation log's files kept few, by a process of its own: a server has better use for the memory and the time that it takes.

Takes a House; starts `fairlead observations --compact` where the names of the files say that there is something to do, one at a time, as
what can wait, and ends it with the server. Says when it failed; raises StorageError where the log cannot be listed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from fairlead.app.observations import log_files
from fairlead.app.wiring import House
from fairlead.stores.prediction_log_merging import is_due
from fairlead.stores.prediction_log_names import read_name

_LIMIT_S = 1800.0
_END_S = 2.0
_NICENESS = 10


class Upkeep:
    """Starts and ends the process. Used by one thread. `report` is told what went wrong."""

    def __init__(self, house: House, report: Callable[[str], None]) -> None:
        self._house, self._report = house, report
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    def start_where_due(self) -> bool:
        """Start it where none runs and something is to do; returns whether it was started."""
        if self._is_running() or not self._is_due():
            return False
        command = [sys.executable, "-m", "fairlead", "observations", "--compact", "--home", str(self._house.settings.home)]
        nothing = subprocess.DEVNULL
        try:
            self._child = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        except OSError as error:
            self._report(f"The files of observations stay many: no process can be started ({error.strerror}).")
            return False
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICENESS)
        self._started_at = time.monotonic()
        return True

    def close(self) -> None:
        """End it: what it was at is done by the next one."""
        if self._child is not None:
            self._end(self._child)

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
            self._report(
                f"The files of observations stay many: compacting them ended with {status}. See why: fairlead observations --compact"
            )
        return False

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
