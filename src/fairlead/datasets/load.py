"""Opens a data file for a model: the door of this room.

Takes a path and an interface; gives a Dataset, or the inputs alone. Raises DataError for every file or content that does not fit. It reads
the file once through one handle, so that the digest is that of the bytes that were used; it never unpickles.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface, Tensors, TensorSpec
from fairlead.datasets.bind import bind, bind_inputs, text_columns
from fairlead.datasets.catalog import READERS, format_of
from fairlead.datasets.data_file import open_data_file
from fairlead.datasets.peek import inputs_of
from fairlead.datasets.raw import Raw
from fairlead.errors import DataError


def load_dataset(path: Path, interface: Interface, *, target: str | None = None, allow_missing: bool = False) -> Dataset:
    """Return the rows and answers in `path` as `interface` wants them; see `datasets.bind.bind` for the parameters."""
    texts = text_columns(interface)
    if target is not None and any(isinstance(label, str) for label in interface.labels):
        texts |= {target}
    raw, digest = _read(path, texts)
    dataset = bind(raw, interface, target=target, allow_missing=allow_missing)
    described = "; ".join(part for part in (f"{path.name}, {dataset.rows} rows", dataset.description) if part)
    return dataclasses.replace(dataset, digest=digest, description=described)


def load_rows(path: Path, interface: Interface) -> Tensors:
    """Return the inputs in `path` (also .json) for a prediction; what is not an input is ignored, NaN in float inputs is passed on."""
    raw, _ = _read(path, text_columns(interface))
    inputs, _, _ = bind_inputs(raw, interface, target=None, allow_missing=True, allow_extra=True)
    return inputs


def peek(path: Path, *, target: str | None = None) -> tuple[TensorSpec, ...]:
    """Return the inputs that a model has to take to be proven with the rows in `path`; see `datasets.peek.inputs_of`."""
    raw, _ = _read(path, frozenset())
    return inputs_of(raw, target=target)


def _read(path: Path, texts: frozenset[str]) -> tuple[Raw, str]:
    with open_data_file(path, ".npz, .npy, .csv or .parquet") as file:
        head = file.read(8)
        if not head:
            raise DataError(f"The data file '{path.name}' is empty.")
        reader = READERS.load(format_of(path, head))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        return reader(file, texts), digest
