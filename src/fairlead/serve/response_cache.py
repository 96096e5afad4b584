"""Answers that were given before: the least recently used go first, once all together exceed a number of bytes.

Takes a version's digest, the inputs and the requested outputs; gives a key, and the outputs that were put under it. Raises nothing. Law: a
key stands for exactly one version, list of outputs and inputs, bit by bit, so no request ever gets another one's answer: inputs are equal
where names, element types, shapes and every bit are. So -0.0 is not 0.0, and NaN equals NaN of the same payload only: what a model may tell
apart is never taken for the same. The data plane never asks it
about a version whose verdict does not say that it is deterministic.

It touches no lock and belongs to the event loop's thread. Equal requests that come at once are not waited for: the scheduler computes them
in one batch, and one that waited would inherit the other's deadline, priority and cancellation.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array, Tensors

_DIGEST_BYTES = 32
# What Python takes beside the values: measured with tracemalloc in tests/unit/serve/test_response_cache.py, rounded up.
_ENTRY_BYTES = 480
_ARRAY_BYTES = 256
_TEXT_SLOT_BYTES = 8
_IS_LITTLE = sys.byteorder == "little"

Key = tuple[str, bytes]


class ResponseCache:
    """Holds at most `limit_bytes` of keys, arrays and what Python takes around them. Counts are exact and only grow."""

    __slots__ = ("_entries", "_hasher", "eviction_count", "hit_count", "limit_bytes", "miss_count", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.hit_count = 0
        self.miss_count = 0
        self.eviction_count = 0
        self._entries: OrderedDict[Key, tuple[int, dict[str, Array], bool]] = OrderedDict()
        # The digest's key is this process's own: nobody can look for two inputs that collide before they come.
        self._hasher = hashlib.blake2b(key=os.urandom(32), digest_size=_DIGEST_BYTES)

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, version_digest: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Key | None:
        """Return what stands for this request of that version; None where an input holds objects that are neither text nor bytes."""
        hasher = self._hasher.copy()
        head: list[object] = [*outputs, len(outputs)]
        for name in sorted(inputs) if len(inputs) > 1 else inputs:
            tensor = inputs[name]
            dtype = tensor.dtype
            content = _text_bytes(tensor) if dtype.kind == "O" else _number_bytes(tensor)
            if content is None:
                return None
            head += (name, dtype.kind, dtype.itemsize, tensor.shape)
            hasher.update(content)
        # From its end, what was hashed can be read in one way only: the head's length, the head, and the bytes that its sizes say.
        said = repr(head).encode("ascii", "backslashreplace")
        hasher.update(said + len(said).to_bytes(8, "little"))
        return version_digest, hasher.digest()

    def get(self, key: Key) -> dict[str, Array] | None:
        """Return the outputs put under `key`, which nobody can change, or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.miss_count += 1
            return None
        self.hit_count += 1
        self._entries.move_to_end(key)
        _, outputs, has_text = entry
        if has_text:  # an array of objects can always be made writeable again
            return {name: array.copy() if array.dtype.kind == "O" else array for name, array in outputs.items()}
        return outputs.copy()

    def put(self, key: Key, outputs: Tensors) -> None:
        """Keep a copy of `outputs` under `key`, where it fits at all; what was used longest ago makes room for it."""
        frozen = {name: _frozen(array) for name, array in outputs.items()}
        size = _ENTRY_BYTES + sum(_array_bytes(name, array) for name, array in frozen.items())
        if size > self.limit_bytes:
            return
        before = self._entries.pop(key, None)
        if before is not None:
            self.size_bytes -= before[0]
        while self.size_bytes + size > self.limit_bytes:
            _, (freed, _, _) = self._entries.popitem(last=False)
            self.size_bytes -= freed
            self.eviction_count += 1
        self._entries[key] = (size, frozen, any(array.dtype.kind == "O" for array in frozen.values()))
        self.size_bytes += size

    def forget(self, version_digest: str) -> None:
        """Drop every answer of a version that is not served any more. These are not counted as evictions."""
        gone = [key for key in self._entries if key[0] == version_digest]
        for key in gone:
            self.size_bytes -= self._entries.pop(key)[0]


def _number_bytes(tensor: Array) -> memoryview | bytes:
    """The values in C order, least significant byte first."""
    if tensor.dtype.isnative and _IS_LITTLE:
        return tensor.data if tensor.flags.c_contiguous and tensor.size else tensor.tobytes()
    return tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()


def _text_bytes(tensor: Array) -> bytes | None:
    """The kind and length of every element, then all of them: with the shape, they can be told apart in one way only."""
    kinds, encoded = bytearray(), []
    for element in tensor.flat:
        if isinstance(element, str):
            kinds.append(0)
            encoded.append(element.encode("utf-8", "surrogatepass"))
        elif isinstance(element, bytes):
            kinds.append(1)
            encoded.append(element)
        else:
            return None
    return b"".join((bytes(kinds), struct.pack(f"<{len(encoded)}Q", *map(len, encoded)), *encoded))


def _frozen(array: Array) -> Array:
    """A copy that holds on to nothing else; of numbers, over bytes, which nobody can make writeable."""
    if array.dtype.kind == "O":
        return array.copy()
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _array_bytes(name: str, array: Array) -> int:
    texts = sum(_TEXT_SLOT_BYTES + sys.getsizeof(element) for element in array.flat) if array.dtype.kind == "O" else array.nbytes
    return _ARRAY_BYTES + len(name) * 4 + texts
