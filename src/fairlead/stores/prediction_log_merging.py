"""Which files of the observation log count where some were made of others, and which of them are to be made into one. Pure.

Laws: a merged file names those that it was made of; from the moment it is there, they do not count. Where two merged files name the same
one (two servers were at it), the one made first counts and the other does not. What does not count is removed when everybody who could
still be reading it has ended. Nothing here looks into a file: what a merged file names is told.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.stores.prediction_log_names import LogFile

GRACE_S = 3600.0  # who began to read before a file was replaced has ended by then
_SPAN_S = 3600.0  # a merged file holds an hour at most: retention is that exact
_SETTLE_S = 600.0  # what is younger may still get neighbours
_AHEAD_S = 86_400.0  # a clock that is further ahead than that was wrong
_SMALL_BYTES = 2**20
_INPUT_BYTES = 16 * 2**20
_INPUT_COUNT = 1024
Replaces = Callable[[LogFile], "frozenset[str] | None"]


@dataclass(frozen=True)
class Hidden:
    """Files that do not count: `replaced` by a merged file, each with it, and merged files that were made `twice`."""

    replaced: Mapping[str, LogFile]
    twice: tuple[LogFile, ...] = ()

    def __contains__(self, path: object) -> bool:
        return path in self.replaced or any(file.path == path for file in self.twice)


def hidden(files: Sequence[LogFile], replaces: Replaces) -> Hidden:
    """Return which of `files` do not count; `replaces` tells what a merged file was made of, None where it cannot be read.

    It is asked only about merged files in whose time others begin.
    """
    replaced: dict[str, LogFile] = {}
    twice: list[LogFile] = []
    for file in sorted(_in_doubt(files, _any), key=lambda file: (file.merged_at, file.path)):
        names = replaces(file)
        if names is None:
            continue
        if any(name in replaced for name in names):
            twice.append(file)
        else:
            replaced |= dict.fromkeys(names, file)
    return Hidden(replaced, tuple(twice))


def _any(_: LogFile) -> bool:
    return True


def _in_doubt(files: Sequence[LogFile], counts: Callable[[LogFile], bool]) -> list[LogFile]:
    """Return the merged files in whose time others that count begin, of the same folder and version."""
    found: list[LogFile] = []
    for group in _grouped(files, lambda file: (file.folder, file.version)):
        merged = [file for file in group if file.merged_at]
        if merged:
            starts = sorted(file.first_at for file in group if counts(file))
            found += [file for file in merged if _count_within(starts, file) > counts(file)]  # it may be one of them itself
    return found


def _count_within(starts: Sequence[float], file: LogFile) -> int:
    return bisect_right(starts, file.last_at) - bisect_left(starts, file.first_at)


def groups(files: Sequence[LogFile], now: float) -> list[list[LogFile]]:
    """Return what is to be made into one file each, oldest rows first: small files of one folder, version and hour that has passed.

    `files` are those that count. At most 16 MiB and 1,024 files go into one. A file alone stays, unless its hour has a merged one.
    """
    begun = {_hour_of(file) for file in files if file.merged_at}
    found: list[list[LogFile]] = []
    for group in _grouped((file for file in files if _is_small(file) and _is_settled(file, now)), _hour_of):
        size, part, parts = 0, list[LogFile](), list[list[LogFile]]()
        for file in sorted(group, key=lambda file: (file.first_at, file.path)):
            if part and (size + file.size_bytes > _INPUT_BYTES or len(part) >= _INPUT_COUNT):
                parts.append(part)
                size, part = 0, []
            part.append(file)
            size += file.size_bytes
        parts.append(part)
        found += [part for part in parts if len(part) > 1 or len(parts) > 1 or _hour_of(part[0]) in begun]
    return sorted(found, key=lambda part: part[0].first_at)


def _hour_of(file: LogFile) -> tuple[object, ...]:
    return file.folder, file.version, math.floor(file.first_at / _SPAN_S)


def _is_small(file: LogFile) -> bool:
    """Whether it is worth to be put together with others, and none that was."""
    return not file.merged_at and file.size_bytes < _SMALL_BYTES


def _is_settled(file: LogFile, now: float) -> bool:
    hour_end = (math.floor(file.first_at / _SPAN_S) + 1) * _SPAN_S
    return max(hour_end, file.last_at) + _SETTLE_S < now or file.last_at > now + _AHEAD_S


def is_due(files: Sequence[LogFile], now: float) -> bool:
    """Whether there is anything to merge, or to remove since it was merged long ago; names alone are looked at."""
    doubtful = _in_doubt(files, _is_small)
    if any(merged.merged_at < now - GRACE_S for merged in doubtful):
        return True
    hours = {_hour_of(merged) for merged in doubtful}
    return bool(groups([file for file in files if _hour_of(file) not in hours], now))


def _grouped(files: Iterable[LogFile], key: Callable[[LogFile], tuple[object, ...]]) -> list[list[LogFile]]:
    found: dict[tuple[object, ...], list[LogFile]] = defaultdict(list)
    for file in files:
        found[key(file)].append(file)
    return list(found.values())
