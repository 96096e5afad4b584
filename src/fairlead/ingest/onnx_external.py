"""External data of an ONNX file: which files it names, and their bytes put into the model. Afterwards one file holds everything.

Only bare names are accepted, no paths of any kind: the file has to lie beside the model. Who opens the files opens private copies, made
without following links (security.snapshot). Raises UnsafeContentError for anything that is not a bare name, SourceError for missing bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import TensorProto

from fairlead.core.interface import shorten
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.onnx_checks import size_bytes, tensors

TOTAL_LIMIT_BYTES = 2**31 - 2**20  # what protobuf can hold in one message
_KEYS = {"location", "offset", "length", "checksum"}
_HINT = "Put the data file beside the model, and export the model so that it names only the file."


def external_names(model: Any) -> tuple[str, ...]:
    """Return the names of all files that hold tensors of the model, sorted."""
    found = {_entries(tensor)["location"] for tensor in tensors(model) if tensor.data_location == TensorProto.EXTERNAL}
    for name in found:
        check_bare(name)
    if len({name.casefold() for name in found}) != len(found):
        raise UnsafeContentError("Two data files differ only in upper and lower case.", hint=_HINT)
    return tuple(sorted(found))


def check_bare(name: str) -> None:
    """Raise UnsafeContentError unless `name` is a plain file name: no folders, no drives, no tricks."""
    if not Manifest((FileEntry(name, 0, "0" * 64),)).is_bare or name.endswith("."):
        raise UnsafeContentError(f"The model takes data from '{shorten(name)}', which is not a plain file name.", hint=_HINT)


def fold_in(model: Any, files: Mapping[str, Path]) -> int:
    """Read every external tensor's bytes into the model and return how many bytes that were. `files` maps a name to its private copy."""
    total = 0
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = _entries(tensor)
        path = files.get(entries["location"])
        if path is None:
            raise SourceError(f"The data file '{shorten(entries['location'])}' is missing.", hint=_HINT)
        wanted = size_bytes(tensor)
        total += wanted
        if total > TOTAL_LIMIT_BYTES:
            raise UnsupportedError("The model is larger than 2 GiB.", hint="Quantize it or store it as float16 before.")
        offset, length = _number(tensor, entries, "offset", 0), _number(tensor, entries, "length", wanted)
        if length != wanted or offset + length > path.stat().st_size:
            raise SourceError(f"The data of tensor '{shorten(tensor.name)}' does not fit its shape.", hint="Export the model again.")
        with path.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
    return total


def _entries(tensor: Any) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if "location" not in entries or len(entries) != len(tensor.external_data) or not entries.keys() <= _KEYS:
        raise SourceError(f"Tensor '{shorten(tensor.name)}' does not say properly where its data lies.", hint="Export the model again.")
    return entries


def _number(tensor: Any, entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise SourceError(f"The {key} of tensor '{shorten(tensor.name)}' is not a number.", hint="Export the model again.")
    return int(text)
