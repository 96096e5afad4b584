"""One page of memory that a process shares with the front: how often it has beaten, and which ask it has begun.

Takes nothing; gives a descriptor to hand on and two numbers. The front reads them without a system call. They say that a process makes
progress, and nothing else depends on them: a process that lies about them is at most taken for alive.
"""

from __future__ import annotations

import mmap
import os

_BEATS, _BEGUN = 0, 8  # in words of 8 bytes; a cache line apart
_PAGE_BYTES = 4096


class Pulse:
    """The page. Made by one side (`create`), mapped by the other (`attach`), which then closes the descriptor."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._words = memoryview(page).cast("Q")
        self._seen, self._silent_count = 0, 0

    @staticmethod
    def create() -> tuple[Pulse, int]:
        """Return a new page and the descriptor that the other side maps it by. Raises OSError."""
        descriptor = os.memfd_create("fairlead-pulse", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, _PAGE_BYTES)
            return Pulse(mmap.mmap(descriptor, _PAGE_BYTES)), descriptor
        except BaseException:
            os.close(descriptor)
            raise

    @staticmethod
    def attach(descriptor: int) -> Pulse:
        """Return the page behind `descriptor` and close that. Raises OSError, ValueError."""
        try:
            return Pulse(mmap.mmap(descriptor, _PAGE_BYTES))
        finally:
            os.close(descriptor)

    def look(self) -> int:
        """Return how many looks in a row have found no new beat, this one included."""
        beats = self._words[_BEATS]
        self._silent_count = 0 if beats != self._seen else self._silent_count + 1
        self._seen = beats
        return self._silent_count

    @property
    def begun(self) -> int:
        """The sequence number of the ask that the process began last."""
        return self._words[_BEGUN]

    def beat(self) -> None:
        """Say that this process lives."""
        self._words[_BEATS] += 1

    def begin(self, sequence: int) -> None:
        """Say that the engine is called for this ask now."""
        self._words[_BEGUN] = sequence

    def close(self) -> None:
        """Give the page back."""
        self._words.release()
        self._page.close()
