"""Core values as JSON: what is registered, printed with --json and kept as evidence.

`dump` is canonical (sorted keys, no spaces, finite numbers as they are, NaN and infinities as null) so that equal values have equal
digests. `load` raises CorruptError where the bytes are not a document of that type; unknown keys of newer releases are ignored.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeVar

import msgspec
import numpy as np

from fairlead.errors import CorruptError

T = TypeVar("T")


def dump(value: object) -> bytes:
    """Return the canonical JSON of a core value."""
    return msgspec.json.encode(value, enc_hook=_plain, order="sorted")


def dump_pretty(value: object) -> str:
    """Return the same, indented for a person."""
    return msgspec.json.format(dump(value), indent=2).decode()


def load(data: bytes, kind: type[T]) -> T:
    """Return the value of type `kind` that `dump` wrote."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_rich)
    except (msgspec.DecodeError, ValueError) as error:
        raise CorruptError(f"A stored document is not a {kind.__name__}: {error}.", hint="The registry's files were changed.") from error


def to_plain(value: object) -> Any:
    """Return the value as dicts, lists, strings and numbers."""
    return msgspec.to_builtins(value, enc_hook=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not part of a document")


def _rich(kind: type, value: Any) -> Any:
    if issubclass(kind, PurePath):
        return kind(value)
    raise TypeError(f"{kind.__name__} is not part of a document")
