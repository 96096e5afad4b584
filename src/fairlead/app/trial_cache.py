"""What trials made and showed, kept between searches by digest: a repeated or resumed search does none of it again.

Takes a folder of the home; gives models with their lineage step by key, and a journal of points for each search. A key holds everything
that decides the bytes: the model before, the pass with all its settings, rows, seed, versions. Entries are there whole or not at all; what
is damaged is as good as absent. Old entries go when a search begins. Raises StorageError where the disk refuses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fairlead.core.lineage import Step
from fairlead.core.search import SearchPoint
from fairlead.errors import CorruptError
from fairlead.security.digests import digest_file
from fairlead.stores.document import dump, load
from fairlead.stores.durable_files import typed_errors

_DAYS_KEPT = 7
_BYTES_KEPT = 4 * 2**30
_DOING = "the results of trials"


def key_of(facts: Mapping[str, object]) -> str:
    """Return the key of everything that decides a result."""
    return hashlib.sha256(dump(facts)).hexdigest()


class TrialCache:
    """Models by key under `folder`/made, journals under `folder`/journals."""

    def __init__(self, folder: Path) -> None:
        self._made, self._journals = folder / "made", folder / "journals"
        with typed_errors(_DOING, folder):
            for one in (self._made, self._journals):
                one.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Drop what nobody used for a week, and the oldest of what takes too much space."""
        entries = []
        for entry in (*self._made.iterdir(), *self._journals.iterdir()):
            with suppress(OSError):
                size = sum(path.stat().st_size for path in entry.iterdir()) if entry.is_dir() else entry.stat().st_size
                entries.append((entry.stat().st_mtime, size, entry))
        total, now = 0, time.time()
        for used_at, size, entry in sorted(entries, reverse=True):
            total += size
            if total > _BYTES_KEPT or now - used_at > _DAYS_KEPT * 86_400:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)

    def get(self, key: str) -> tuple[Path, Step] | None:
        """Return the model and the step that made it; None where it is not there, or not what was written."""
        entry = self._made / key
        try:
            step = load((entry / "step.json").read_bytes(), Step)
            if digest_file(entry / "model.onnx") != step.output_digest:
                return None
            os.utime(entry)
        except (OSError, CorruptError):
            return None
        return entry / "model.onnx", step

    def put(self, key: str, model: Path, step: Step) -> Path:
        """Keep a model; return where it lies."""
        with typed_errors(_DOING, self._made):
            unfinished = Path(tempfile.mkdtemp(prefix=".", dir=self._made))
            shutil.copyfile(model, unfinished / "model.onnx")
            (unfinished / "step.json").write_bytes(dump(step))
            try:
                unfinished.rename(self._made / key)
            except OSError:  # it is there already, or what is there is damaged
                if self.get(key) is None:
                    shutil.rmtree(self._made / key, ignore_errors=True)
                    unfinished.rename(self._made / key)
                else:
                    shutil.rmtree(unfinished, ignore_errors=True)
        return self._made / key / "model.onnx"

    def points(self, search: str) -> tuple[SearchPoint, ...]:
        """Return the points of the search with this key that were measured before, in their order; half a line at the end is nothing."""
        try:
            lines = (self._journals / search).read_bytes().split(b"\n")[:-1]
        except OSError:
            return ()
        points = []
        for line in lines:
            try:
                points.append(load(line, SearchPoint))
            except CorruptError:
                break
        return tuple(points)

    def note(self, search: str, point: SearchPoint) -> None:
        """Add a point to the search's journal."""
        with typed_errors(_DOING, self._journals), (self._journals / search).open("ab") as file:
            file.write(dump(point) + b"\n")

    def forget(self, search: str) -> None:
        """Begin the journal anew."""
        (self._journals / search).unlink(missing_ok=True)
