"""A folder to work in that is gone afterwards, and what killed deployments left behind.

Folders are named by the process that made them; one whose process is gone belongs to nobody. Raises NoSpaceError for a full disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fairlead.app.wiring import House
from fairlead.register.collect import sweep_unfinished
from fairlead.stores.durable_files import typed_errors


@contextmanager
def workspace(house: House) -> Iterator[Path]:
    """Give a folder to work in; it goes whatever happens, and so does what processes that are gone left behind."""
    with typed_errors("the work on this model", house.work):
        house.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in house.work.iterdir():
            if not _is_running(left.name.partition("-")[0]):
                shutil.rmtree(left, ignore_errors=True)
        sweep_unfinished(house.blobs)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=house.work))
        try:
            yield folder
        finally:
            with suppress(OSError):
                shutil.rmtree(folder)


def _is_running(process: str) -> bool:
    """Whether a process with this number lives; a name that is no number belongs to nobody."""
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
