"""Decoders of JSON into typed values, each made once, by one thread at a time.

msgspec 0.22 keeps what it learns of a class on that class, and another thread that meets it half learned ends the process (a segmentation
fault, as soon as two threads read the first document of a type at once). So whoever reads typed JSON where threads run asks here for the
decoder. Takes a type, and a function for what msgspec does not know; raises nothing of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Hook = Callable[[type, Any], Any]
_decoders: dict[tuple[object, Hook | None], msgspec.json.Decoder[Any]] = {}
_learning = threading.Lock()


def decoder(kind: type[T], hook: Hook | None = None) -> msgspec.json.Decoder[T]:
    """Return the decoder of `kind`. It may be used by several threads at once."""
    found = _decoders.get((kind, hook))
    if found is None:
        with _learning:
            found = _decoders.setdefault((kind, hook), msgspec.json.Decoder(kind, dec_hook=hook))
    return found
