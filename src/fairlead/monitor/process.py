"""What the operating system says of this process, for metrics.

Takes nothing; gives samples. What a system does not offer is left out: everything but processor time is read from Linux's /proc. It never
raises.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from fairlead.monitor.exposition import Value
from fairlead.monitor.families import CPU, FILE_LIMIT, OPEN_FILES, RESIDENT, START, VIRTUAL, Family

_SELF = Path("/proc/self")
_START_FIELD, _VIRTUAL_FIELD, _RESIDENT_FIELD = 19, 20, 21  # proc(5), counted behind the command's name


def process_samples() -> Iterator[tuple[Family, Value]]:
    """Yield each metric of the process with its value."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield CPU, usage.ru_utime + usage.ru_stime
    try:
        stat = (_SELF / "stat").read_bytes().rpartition(b")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        open_count = len(os.listdir(_SELF / "fd")) - 1  # noqa: PTH208 - a Path for each name is not needed; one is that of the listing itself
    except (OSError, StopIteration):
        return
    yield RESIDENT, int(stat[_RESIDENT_FIELD]) * resource.getpagesize()
    yield VIRTUAL, int(stat[_VIRTUAL_FIELD])
    yield START, int(boot.split()[1]) + int(stat[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    yield OPEN_FILES, open_count
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY:
        yield FILE_LIMIT, limit
