"""Opens a file of data that a user names: a plain file, whatever else stands at its path.

Takes a path; gives the file, open for reading. Raises DataError that names it. Never waits for a FIFO.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from fairlead.errors import DataError


def open_data_file(path: Path, formats: str) -> BufferedReader:
    """Return the file at `path`; `formats` says in words what may be given. The caller closes it."""
    try:
        # Not blocking: opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError(f"There is no data file '{path.name}'.", hint="Check the path.") from None
    except OSError as error:
        raise DataError(f"Cannot open the data file '{path.name}': {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"'{path.name}' is not a file.", hint=f"Give one {formats} file.")
    return os.fdopen(descriptor, "rb")
