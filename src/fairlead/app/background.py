"""The background rows of a version: a few real rows that its answers are explained against, kept with it in `explain.npz`.

Takes the rows that a model is proven with; gives a few of them, drawn once and for good, so that an explanation is the same
tomorrow. Reads them back; a version without them (an older one) has its golden requests. Raises CorruptError. Never unpickles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface, Tensors
from fairlead.errors import CorruptError, RequestError
from fairlead.stores.golden_rows import read_golden, read_tensors, write_tensors

BACKGROUND_FILE = "explain.npz"
_BYTES = 4 * 2**20  # what the rows of a version may take
_READ_BYTES = 64 * 2**20  # of a file that somebody else may have made


@dataclass(frozen=True)
class Background:
    """Rows of the model's inputs. `note` says what a person should know of them, "" for nothing."""

    rows: Tensors = field(repr=False)
    note: str = ""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.rows.values())))


def draw_background(rows: Dataset, count: int) -> Tensors:
    """Return at most `count` of the rows, in the order of the data; fewer where they are large, none where no real ones are known."""
    if rows.is_synthetic or count < 1:
        return {}
    row_bytes = sum(max(tensor[:1].nbytes, 1) for tensor in rows.inputs.values())
    wanted = min(count, rows.rows, max(_BYTES // row_bytes, 1))
    drawn = np.sort(np.random.default_rng(0).permutation(rows.rows)[:wanted])
    return {name: tensor[drawn] for name, tensor in rows.inputs.items()}


def write_background(path: Path, rows: Tensors) -> None:
    """Write the rows."""
    write_tensors(path, rows)


def read_background(files: Mapping[str, Path], interface: Interface) -> Background:
    """Return the rows that the version's files hold."""
    if BACKGROUND_FILE in files:
        _check_size(files[BACKGROUND_FILE])
        rows: Tensors = read_tensors(files[BACKGROUND_FILE])
        note = ""
    else:
        rows = read_golden(files["golden.npz"]).inputs
        count = len(next(iter(rows.values())))
        note = f"The version keeps no background rows, so its {count} golden requests stand for all rows; give others: --background FILE."
    try:
        interface.check_inputs(rows)
    except RequestError as error:
        raise CorruptError(f"The background rows of the version do not fit it: {error.message}", hint="Deploy the model again.") from error
    return Background(rows, note)


def _check_size(path: Path) -> None:
    """Raise CorruptError for a file that would unpack to far more than was ever written."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise CorruptError(f"'{path.name}' does not hold tensors: {error}.", hint="Deploy the model again.") from error
    if size > _READ_BYTES:
        raise CorruptError(f"'{path.name}' would unpack to {size:,} bytes, more than background rows take.", hint="Deploy the model again.")
