"""Named tensors as an .npz file that holds data only: how inputs reach a sandboxed child, and its outputs come back.

Takes and gives a mapping name -> array; BYTES tensors (object arrays of str) become UTF-8 with offsets. Reading never unpickles and
raises CorruptError where the file is not what `write_tensors` wrote, since a child's files are untrusted.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.errors import CorruptError

_HINT = "The process that wrote it was stopped or failed."

# Members: "names" (JSON as bytes); per position a<n> an array, or t<n>, o<n>, s<n> text, its offsets and its shape.


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write `tensors` to `path`. Order is kept; names may hold any character."""
    arrays: dict[str, Array] = {"names": np.frombuffer(json.dumps(list(tensors)).encode(), dtype=np.uint8)}
    for position, tensor in enumerate(tensors.values()):
        if tensor.dtype.kind not in "OU":
            arrays[f"a{position}"] = tensor
            continue
        texts = [str(element).encode() for element in tensor.flat]
        arrays[f"t{position}"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        arrays[f"o{position}"] = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        arrays[f"s{position}"] = np.asarray(tensor.shape, dtype=np.int64)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_tensors(path: Path) -> dict[str, Array]:
    """Return what `write_tensors` wrote; raises CorruptError. Follows no link, and inflates nothing: members are stored as they are."""
    try:
        with open(path, "rb", opener=_open_no_link) as stream, np.load(stream, allow_pickle=False) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.zip.infolist()):
                raise CorruptError("A file of tensors is compressed.", hint=_HINT)
            names = json.loads(file["names"].tobytes())
            return {str(name): _read(file, position) for position, name in enumerate(names)}
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise CorruptError("A file of tensors is not what was written.", hint=_HINT) from error


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _read(file: np.lib.npyio.NpzFile, position: int) -> Array:
    if f"a{position}" in file:
        return np.asarray(file[f"a{position}"])
    blob, offsets = file[f"t{position}"].tobytes(), file[f"o{position}"]
    tensor = np.empty(len(offsets) - 1, dtype=object)
    tensor[:] = [blob[start:stop].decode() for start, stop in itertools.pairwise(offsets)]
    return tensor.reshape(tuple(int(size) for size in file[f"s{position}"]))
