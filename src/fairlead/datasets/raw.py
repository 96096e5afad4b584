"""What a data file holds before anybody asked what the model wants: named arrays, or named columns of a table. Pure values and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import Array
from fairlead.errors import DataError

LIMIT_BYTES = 8 * 2**30  # of one file once it is unpacked
COLUMN_LIMIT = 100_000
MEMBER_LIMIT = 1_000


@dataclass(frozen=True)
class Raw:
    """`arrays` by name in the file's order. In a table each is a (rows,) column; text is an object array of str, with None for missing;
    dates are datetime64. Object arrays from memory may hold what a data frame does (see `datasets.objects`).

    A single array without a name (.npy, a JSON list) has the name "".
    """

    arrays: Mapping[str, Array] = field(repr=False)
    is_table: bool


def check_size(size_bytes: int, *, what: str) -> None:
    """Raise DataError where `what` would take more than the limit once unpacked."""
    if size_bytes > LIMIT_BYTES:
        raise DataError(
            f"{what} would take {size_bytes / 1e9:.1f} GB; the limit is {LIMIT_BYTES / 1e9:.1f} GB.",
            hint="Prove the model with a sample of the rows.",
        )


def check_columns(count: int) -> None:
    """Raise DataError for a table with more columns than the limit."""
    if count > COLUMN_LIMIT:
        raise DataError(f"The table has {count} columns; the limit is {COLUMN_LIMIT}.", hint="Save wide rows as one array in a .npz file.")
