"""The index of data formats: suffix -> reader(file: BinaryIO, text_columns: frozenset[str]) -> Raw, and the bytes that each starts with."""

from __future__ import annotations

from pathlib import Path

from fairlead.core.catalog import Catalog, Variant
from fairlead.errors import DataError

READERS = Catalog(
    kind="data format",
    group="fairlead.datasets",
    variants={
        ".npz": Variant("fairlead.datasets.array_reader:read_npz"),
        ".npy": Variant("fairlead.datasets.array_reader:read_npy"),
        ".csv": Variant("fairlead.datasets.csv_reader:read_csv"),
        ".parquet": Variant("fairlead.datasets.parquet_reader:read_parquet"),
        ".json": Variant("fairlead.datasets.json_reader:read_json"),
    },
)
_MAGIC = {".npz": b"PK", ".npy": b"\x93NUMPY", ".parquet": b"PAR1"}


def format_of(path: Path, head: bytes) -> str:
    """Return the suffix that names the format; raises DataError where it is unknown or `head`, the file's first bytes, disagrees."""
    suffix = path.suffix.lower()
    if suffix not in READERS.names():
        raise DataError(f"'{path.name}' is not a data format that Fairlead knows.", hint=f"Known: {', '.join(READERS.names())}.")
    content = next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")
    if content != suffix and (content or suffix in _MAGIC):
        is_what = f"holds {content} data" if content else f"is no {suffix} file"
        raise DataError(f"'{path.name}' {is_what}.", hint=f"Rename it to {content}." if content else "Is the file damaged?")
    return suffix
