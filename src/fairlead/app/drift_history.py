"""Windows of one version from sketches that were kept, and from rows of the observation log where there are none yet.

A look at the log leaves sketches behind: of every hour that is over, in a file for each day, and of days that are long over as a whole. So
history outlives the rows, and a long span is read fast. An hour knows of which of the log's files it was made: where there is another one,
rows came late, and it is made anew from all rows that the log still has; where these are fewer than it counted, it stays as it is. So no
row counts twice, whoever looks, however often. Raises what the log raises; what is wrong with the sketches alone is told in `notes`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fairlead.app.drift_windows import Source, sights
from fairlead.app.observations import log_files
from fairlead.app.wiring import House
from fairlead.core.sketch_window import WindowSketch
from fairlead.errors import CorruptError, StorageError, UnsupportedError
from fairlead.monitor.sketch.windows import merged
from fairlead.stores.sketch_archive import SketchArchive

HOUR_S, DAY_S = 3600.0, 86_400.0
_SETTLED_S = 900.0  # how long after its end an hour is kept: most of what came late is there then
_HOURS_S = 35 * DAY_S  # for so long hours are told apart: a season looks back four weeks
_WIDEST = 256  # features; the sketches of a day, 90 MiB at most then, are held at once
_KEEP_BYTES = 2**30  # of all models
_DAYS_AT_ONCE = 3  # that catching up reads: who watches for alerts has other things to do
_Marks = Mapping[int, tuple[float, float]]


def open_archive(house: House) -> SketchArchive:
    """Return the sketches beside the observation log."""
    return SketchArchive(log_files(house.settings))


class History:
    """One version's windows. `key` stands for the profile that is counted against; `now` says which hours are over (Unix seconds)."""

    def __init__(self, source: Source, archive: SketchArchive, *, key: str, now: float) -> None:
        self._source, self._archive, self._key, self._now = source, archive, key, now
        self._name, self._number = source.version.name, source.version.number
        self._is_kept = len(source.profile.everything) <= _WIDEST
        self._files = source.log.sources(source.window(-math.inf, math.inf))
        self._days = set(archive.days(self._name, self._number)) if self._is_kept else set()
        self._newer: set[float] = set()  # days that a newer Fairlead wrote: these are not ours to replace
        self._written = 0
        self.notes: list[str] = []

    @property
    def first_at(self) -> float:
        """When the first row was received that anything is known of, to the hour where its file is gone; NaN where there is none."""
        first = min((first for first, _ in self._files.values()), default=math.nan)
        kept = self._read(min(self._days)) if self._days else {}
        return min((start for start in (first, *kept) if not math.isnan(start)), default=math.nan)

    def windows(self, first: float, until: float, window_s: float) -> Iterator[WindowSketch]:
        """Yield the windows from `first` to `until` that have rows; they begin at multiples of `window_s` after 1970. Where only the whole
        day is known any more, it is one window.
        """
        if window_s % HOUR_S or not self._is_kept:
            yield from sights(self._source, first, until, window_s)
            return
        found = (window for window in self._hours(first, until) if window.rows)
        for _, group in itertools.groupby(found, lambda window: window.start // window_s):
            whole = merged(list(group))
            start = math.floor(whole.start / window_s) * window_s
            yield self._source.without_altered(replace(whole, start=start))
        self._prune()

    def catch_up(self, until: float) -> None:
        """Make sketches that are missing of the days before `until`, so that they are there when the rows are gone: the oldest first, and
        those of a few days at once. A day before one that nobody has looked at may be half done.
        """
        by_day = self._by_day(-math.inf, until) if self._is_kept else {}
        for day, following in itertools.pairwise([*sorted(by_day), math.inf]):
            if self._written >= _DAYS_AT_ONCE:
                break
            if day not in self._days or (following < until and following not in self._days):
                for _ in self._day(day, day, min(until, day + DAY_S), by_day[day]):
                    continue
        self._prune()

    def _hours(self, first: float, until: float) -> Iterator[WindowSketch]:
        day = math.floor(first / DAY_S) * DAY_S
        by_day = self._by_day(day, until)
        for start in sorted(by_day.keys() | {one for one in self._days if day <= one < until}):
            yield from self._day(start, max(first, start), min(until, start + DAY_S), by_day.get(start, {}))

    def _by_day(self, first: float, until: float) -> Mapping[float, _Marks]:
        """Return the log's files by the days that they touch: a mark of each, with its first and last time."""
        found: dict[float, dict[int, tuple[float, float]]] = defaultdict(dict)
        for name, (begin, end) in self._files.items():
            mark = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
            last = min(end, until - 1e-3)  # `until` itself is not included
            for day in range(math.floor(max(begin, first) / DAY_S), math.floor(last / DAY_S) + 1):
                found[day * DAY_S][mark] = begin, end
        return found

    def _day(self, day: float, since: float, until: float, files: _Marks) -> Iterator[WindowSketch]:
        kept = self._read(day)
        whole = kept.get(day)
        if whole is not None and whole.end - whole.start > HOUR_S:
            yield self._whole_day(day, whole, files)
            return
        is_long_over = self._now - day > _HOURS_S
        begin, end = (day, day + DAY_S) if is_long_over else (since, until)
        hours = self._told_apart(begin, end, kept, files)
        settled = {start: one for start, one in hours.items() if start + HOUR_S <= min(end, self._now - _SETTLED_S)}
        known = {**kept, **settled}
        if is_long_over and len(known) > 1:
            self._write(day, [replace(merged(list(known.values())), start=day, end=day + DAY_S)])
        elif any(kept.get(start) is not one for start, one in settled.items()):
            self._write(day, [known[start] for start in sorted(known)])
        yield from (hours[start] for start in sorted(hours) if since <= start < until)

    def _whole_day(self, day: float, whole: WindowSketch, files: _Marks) -> WindowSketch:
        """Return a day whose hours are not told apart any more, with what came late."""
        if files.keys() <= whole.sources:
            return whole
        blank = WindowSketch(day, day + DAY_S)
        fresh = merged([blank, *sights(self._source, day, day + DAY_S, HOUR_S)])
        better = _better(fresh, whole, frozenset(files))
        self._write(day, [better])
        return better

    def _told_apart(self, since: float, until: float, kept: Mapping[float, WindowSketch], files: _Marks) -> dict[float, WindowSketch]:
        """Return the hours of a part of a day: as they were kept, or made anew."""
        found: dict[float, WindowSketch] = {}
        missing: dict[float, frozenset[int]] = {}
        for place in range(math.ceil((until - since) / HOUR_S)):
            start = since + place * HOUR_S
            touching = frozenset(mark for mark, (first, last) in files.items() if last >= start and first < min(start + HOUR_S, until))
            have = kept.get(start)
            if have is not None and touching <= have.sources:
                found[start] = have
            elif touching:
                missing[start] = touching
        for begin, end in _runs(sorted(missing)):
            for window in sights(self._source, begin, min(end, until), HOUR_S):
                found[window.start] = window
        for start, touching in missing.items():
            fresh = found.get(start) or WindowSketch(start, min(start + HOUR_S, until))
            found[start] = _better(fresh, kept.get(start), touching)
        return found

    # Keeping them.

    def _read(self, day: float) -> dict[float, WindowSketch]:
        if day not in self._days:
            return {}
        try:
            return {window.start: window for window in self._archive.read(self._name, self._number, day, self._key)}
        except UnsupportedError as error:
            self._newer.add(day)
            self._note(error.message)
        except CorruptError as error:
            self._note(error.message)
        return {}

    def _write(self, day: float, windows: Sequence[WindowSketch]) -> None:
        if day in self._newer:
            return
        self._written += 1  # also where it fails: a full disk makes no look longer
        try:
            self._archive.write(self._name, self._number, day, self._key, windows)
            self._days.add(day)
        except StorageError as error:
            self._note(f"Sketches cannot be kept: {error.message}")

    def _prune(self) -> None:
        if self._written:
            self._written = 0
            try:
                self._archive.prune(_KEEP_BYTES)
            except StorageError as error:
                self._note(f"Sketches cannot be removed: {error.message}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _better(fresh: WindowSketch, kept: WindowSketch | None, touching: frozenset[int]) -> WindowSketch:
    """Return the one of a window's sketches that knows more rows: the log loses rows by age and size, and gains those that come late."""
    if kept is not None and fresh.rows < kept.rows:
        return replace(kept, sources=kept.sources | touching)
    return replace(fresh, sources=touching)


def _runs(starts: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield from when to when hours follow one another."""
    begin = end = math.nan
    for start in starts:
        if start != end:
            if not math.isnan(begin):
                yield begin, end
            begin = start
        end = start + HOUR_S
    if not math.isnan(begin):
        yield begin, end
