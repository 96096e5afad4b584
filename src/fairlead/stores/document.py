"""Core values as JSON: what is registered, printed with --json and kept as evidence.

`dump` is canonical (sorted keys, no spaces) so that equal values have equal digests. JSON has no word for NaN and the infinities: they are
the strings "NaN", "Infinity" and "-Infinity", as in https://protobuf.dev/programming-guides/json/, and come back as numbers. `load` raises
CorruptError where the bytes are not a document of that type; unknown keys of newer releases are ignored.
"""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec
import numpy as np

from fairlead.errors import CorruptError
from fairlead.typed_json import decoder

T = TypeVar("T")
_WORDS = (b'"NaN"', b'"Infinity"', b'"-Infinity"')


def dump(value: object) -> bytes:
    """Return the canonical JSON of a core value."""
    return msgspec.json.encode(to_plain(value), order="sorted")


def dump_pretty(value: object) -> str:
    """Return the same, indented for a person."""
    return msgspec.json.format(dump(value), indent=2).decode()


def load(data: bytes, kind: type[T]) -> T:
    """Return the value of type `kind` that `dump` wrote."""
    try:
        return decoder(kind, _rich).decode(data)
    except msgspec.ValidationError as error:
        if not any(word in data for word in _WORDS):
            raise _corrupt(kind, error) from error
        return _load_with_words(data, kind, error)
    except (msgspec.DecodeError, ValueError) as error:
        raise _corrupt(kind, error) from error


def to_plain(value: object) -> Any:
    """Return the value as dicts, lists, strings and finite numbers."""
    return _with_words(msgspec.to_builtins(value, enc_hook=_plain))


def _load_with_words(data: bytes, kind: type[T], error: msgspec.ValidationError) -> T:
    """Read numbers that are words. msgspec reads other strings as numbers too then, so what came out has to say what the document says."""
    content = msgspec.json.decode(data)
    try:
        value = msgspec.convert(content, type=kind, dec_hook=_rich, strict=False)
    except (msgspec.ValidationError, ValueError):
        raise _corrupt(kind, error) from error
    if not _agrees(to_plain(value), content):
        raise _corrupt(kind, error) from error
    return value


def _agrees(plain: Any, content: Any) -> bool:
    """Whether everything in the document that the value holds is there as it was written."""
    if isinstance(plain, dict) and isinstance(content, dict):
        return all(_agrees(item, content[key]) for key, item in plain.items() if key in content)
    if isinstance(plain, list) and isinstance(content, list):
        return len(plain) == len(content) and all(map(_agrees, plain, content))
    return isinstance(plain, str) == isinstance(content, str) and bool(plain == content)


def _with_words(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, dict):
        return {key: _with_words(item) for key, item in content.items()}
    return [_with_words(item) for item in content] if isinstance(content, list | tuple) else content


def _corrupt(kind: type, error: Exception) -> CorruptError:
    return CorruptError(f"A stored document is not a {kind.__name__}: {error}.", hint="The registry's files were changed.")


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
