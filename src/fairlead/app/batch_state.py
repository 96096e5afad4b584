"""What an unfinished batch run leaves on the disk, so that it can go on: finished parts, and a manifest that says what they are of.

Takes the output's path; keeps everything in a folder beside it. A part is durable before the manifest names it, and the manifest is
replaced in one step, so whatever a kill leaves, each row is in exactly one named part or still to do. Raises ConflictError where another
run is at it, was interrupted and is not to be resumed, or was about something else; CorruptError where a part is not what was written;
NoSpaceError and StorageError of the disk. Never removes anything but its own folder, and that where nothing in it is worth keeping.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import pyarrow as pa

from fairlead.core.ports import Clock
from fairlead.errors import ConflictError, CorruptError, InputError
from fairlead.stores.durable_files import sync_folder, typed_errors
from fairlead.typed_json import decoder

SUFFIX = ".unfinished"
_FORMAT = 1
_MANIFEST, _LOCK, _FINAL, _ERRORS = "manifest.json", "lock", "final", "errors.jsonl"
_PART_S, _PART_BYTES = 2.0, 2**26  # how much work a kill may cost
_DOING = "the answers"


class Part(msgspec.Struct, frozen=True):
    """A file of answers to `rows_in` rows of the input, `rows_out` of them answered; the others are in `errors`."""

    name: str
    rows_in: int
    rows_out: int
    size_bytes: int
    digest: str
    errors: tuple[tuple[int, str], ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """`about` is what the run depends on: resuming asks for the same. The parts follow each other without a gap."""

    about: dict[str, str]
    parts: tuple[Part, ...] = ()
    is_read: bool = False
    format: int = _FORMAT


class BatchState:
    """The folder of one run, locked while it is open. `clock` gives monotonic seconds."""

    def __init__(self, output: Path, *, clock: Clock = time.monotonic) -> None:
        self.folder = output.with_name(output.name + SUFFIX)
        self._output, self._clock = output, clock
        self._lock = -1
        self._is_ours = False
        self._sink: pa.OSFile | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._rows_in = self._rows_out = 0
        self._errors: list[tuple[int, str]] = []
        self._began = 0.0
        self.manifest = Manifest({})

    @property
    def rows_in(self) -> int:
        """Rows of the input that named parts answer."""
        return sum(part.rows_in for part in self.manifest.parts)

    @property
    def rows_out(self) -> int:
        """Rows of the output that named parts hold."""
        return sum(part.rows_out for part in self.manifest.parts)

    @property
    def added_rows(self) -> int:
        """Rows of the input that were answered so far, durable or not."""
        return self.rows_in + self._rows_in

    @property
    def added_out(self) -> int:
        """Rows of the output so far, durable or not."""
        return self.rows_out + self._rows_out

    def errors(self) -> list[tuple[int, str]]:
        """Return the rows that were left out, with the reason for each."""
        return [error for part in self.manifest.parts for error in part.errors]

    def open(self, about: Mapping[str, str], *, is_resumed: bool) -> None:
        """Begin a run, or go on with the one that is there."""
        with typed_errors(_DOING, self.folder.parent):
            self.folder.mkdir(exist_ok=True)
            self._take_lock()
            manifest = self.folder / _MANIFEST
            if manifest.exists():
                if not is_resumed:
                    raise ConflictError(
                        f"An earlier run of this batch was interrupted: '{self.folder.name}' is there.",
                        hint="Go on with it: --resume. Or begin anew: delete that folder.",
                    )
                self.manifest = self._read(manifest)
                self._check_same(about)
                self._check_parts()
            else:
                self.manifest = Manifest(dict(about))
                self._write_manifest()
            self._remove_unnamed()
            self._is_ours = True

    def add(self, table: pa.Table | None, rows_in: int, errors: list[tuple[int, str]]) -> None:
        """Take the answers to the next `rows_in` rows (None: none of them has one); a part is closed every few seconds."""
        with typed_errors(_DOING, self.folder):
            if self._writer is None and table is not None:
                self._sink = pa.OSFile(str(self._path(len(self.manifest.parts))), "wb")
                self._writer = pa.ipc.new_stream(self._sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            if self._rows_in == 0:
                self._began = self._clock()
            if self._writer is not None and table is not None:
                self._writer.write_table(table)
                self._rows_out += table.num_rows
            self._rows_in += rows_in
            self._errors += errors
            size = self._sink.tell() if self._sink is not None else 0
            if self._clock() - self._began >= _PART_S or size >= _PART_BYTES:
                self._commit(is_read=False)

    def commit(self, *, is_read: bool) -> None:
        """Make what was added durable; `is_read` says that there are no more rows."""
        with typed_errors(_DOING, self.folder):
            if self._rows_in or is_read:
                self._commit(is_read=is_read)

    def tables(self) -> Iterator[pa.Table]:
        """Yield everything that was added, in order, as it was added."""
        for number, part in enumerate(self.manifest.parts):
            if not part.rows_out:
                continue
            with pa.OSFile(str(self._path(number)), "rb") as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])

    def final(self) -> tuple[Path, BinaryIO]:
        """Return the path and the file that becomes the output."""
        path = self.folder / f"{_FINAL}{self._output.suffix}"
        with typed_errors(_DOING, self.folder):
            return path, path.open("w+b")

    def finish(self, path: Path, file: BinaryIO) -> Path | None:
        """Put the finished file in its place; return where the rows that were left out are listed, None where there are none."""
        errors = self.errors()
        listed = self._output.with_name(f"{self._output.name}.{_ERRORS}") if errors else None
        with typed_errors(_DOING, self.folder):
            file.flush()
            os.fsync(file.fileno())
            if listed is not None:
                report = self.folder / _ERRORS
                with report.open("wb") as lines:
                    lines.writelines(msgspec.json.encode({"row": row, "error": why}) + b"\n" for row, why in errors)
                    lines.flush()
                    os.fsync(lines.fileno())
                report.replace(listed)
            path.replace(self._output)
            sync_folder(self._output.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        return listed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._close_part()
        is_hopeless = isinstance(error, InputError) and not self.manifest.is_read
        if self._is_ours and (is_hopeless or (error is not None and not self.manifest.parts)):
            shutil.rmtree(self.folder, ignore_errors=True)  # the same call would end in the same way, or nothing was done
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.arrows"

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"Another run is writing '{self._output.name}'.", hint="Wait for it, or write to another file.") from None

    def _commit(self, *, is_read: bool) -> None:
        parts = self.manifest.parts
        path = self._path(len(parts))
        if self._rows_in:
            self._close_part()
            size, digest = (_sync(path)) if self._rows_out else (0, "")
            part = Part(path.name, self._rows_in, self._rows_out, size, digest, tuple(self._errors))
            parts = (*parts, part)
        self.manifest = Manifest(self.manifest.about, parts, is_read)
        self._write_manifest()
        self._rows_in = self._rows_out = 0
        self._errors = []

    def _close_part(self) -> None:
        writer, sink = self._writer, self._sink
        self._writer = self._sink = None
        if writer is not None and sink is not None:
            try:
                writer.close()
            finally:
                sink.close()

    def _write_manifest(self) -> None:
        fresh = self.folder / f"{_MANIFEST}.new"
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(self.manifest))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / _MANIFEST)
        sync_folder(self.folder)

    def _read(self, path: Path) -> Manifest:
        try:
            return decoder(Manifest).decode(path.read_bytes())
        except msgspec.MsgspecError as error:
            raise CorruptError(f"What is left of the earlier run cannot be read: {error}.", hint=f"Delete {self.folder}.") from error

    def _check_same(self, about: Mapping[str, str]) -> None:
        known = self.manifest.about
        if self.manifest.format != _FORMAT:
            raise ConflictError("The earlier run was made by another version of Fairlead.", hint="Begin anew: delete its folder.")
        for what, now in about.items():
            if known.get(what) != now:
                raise ConflictError(
                    f"The earlier run had another {what}: {known.get(what, 'none')} instead of {now}.",
                    hint=f"Call it as before, or begin anew: delete {self.folder.name}.",
                )

    def _check_parts(self) -> None:
        for number, part in enumerate(self.manifest.parts):
            if not part.rows_out:
                continue
            try:
                with self._path(number).open("rb") as file:
                    is_same = hashlib.file_digest(file, "sha256").hexdigest() == part.digest
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise CorruptError(f"Part '{part.name}' of the earlier run is not what was written.", hint=f"Delete {self.folder}.")

    def _remove_unnamed(self) -> None:
        """Remove what a kill left that the manifest does not name."""
        named = {part.name for part in self.manifest.parts} | {_MANIFEST, _LOCK}
        for path in self.folder.iterdir():
            if path.name not in named:
                with suppress(OSError):
                    path.unlink()


def _sync(path: Path) -> tuple[int, str]:
    """Wait until the file is on the disk; return its size and digest."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
