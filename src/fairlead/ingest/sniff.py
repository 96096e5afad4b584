"""Which format a file has: told from its bytes, and its name must agree. Nothing is parsed further than a zip's list of members.

Takes the path of a private copy and the name that the user gave; gives a SourceFormat. Raises UnsupportedError for names that nothing
here reads, SourceError where content and name differ. No other loader is ever tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsupportedError
from fairlead.security.archive import open_zip

_HEAD_BYTES = 4096
_READ = (
    "Fairlead reads .h5 and .keras (Keras), SavedModel folders and .tflite (TensorFlow), .pt2, .pt, .pth and .safetensors (PyTorch), "
    ".skops, .joblib and .pkl (scikit-learn), .json and .ubj (XGBoost), .txt (LightGBM), .cbm (CatBoost), .onnx, and MLflow folders."
)
_PICKLES = (SourceFormat.SKLEARN_PICKLE, SourceFormat.SKLEARN_JOBLIB)
_TORCH = (SourceFormat.TORCH_SCRIPT, SourceFormat.TORCH_STATE)
_XGBOOST = (SourceFormat.XGBOOST_JSON, SourceFormat.XGBOOST_UBJ)
_BY_SUFFIX: dict[str, tuple[SourceFormat, ...]] = {
    ".h5": (SourceFormat.KERAS_H5,),
    ".hdf5": (SourceFormat.KERAS_H5,),
    ".keras": (SourceFormat.KERAS_ZIP,),
    ".skops": (SourceFormat.SKLEARN_SKOPS,),
    ".onnx": (SourceFormat.ONNX,),
    # One stream format, one check and one loader: joblib.dump(model, "model.pkl") is what many do.
    ".pkl": _PICKLES,
    ".pickle": _PICKLES,
    ".joblib": _PICKLES,
    ".pt2": (SourceFormat.TORCH_EXPORTED,),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".safetensors": (SourceFormat.SAFETENSORS,),
    ".tflite": (SourceFormat.TFLITE,),
    ".json": (SourceFormat.XGBOOST_JSON,),
    ".ubj": (SourceFormat.XGBOOST_UBJ,),
    ".xgb": _XGBOOST,
    ".txt": (SourceFormat.LIGHTGBM_TEXT,),
    ".lgb": (SourceFormat.LIGHTGBM_TEXT,),
    ".bst": (*_XGBOOST, SourceFormat.LIGHTGBM_TEXT),  # what several tools call either
    ".cbm": (SourceFormat.CATBOOST_CBM,),
}
_COMPRESSED_SUFFIXES = (".gz", ".z", ".bz2", ".xz", ".lzma", ".lz4")
_TITLES = {
    SourceFormat.KERAS_H5: "an HDF5 file",
    SourceFormat.KERAS_ZIP: "a Keras 3 archive (.keras)",
    SourceFormat.SKLEARN_PICKLE: "a Python pickle",
    SourceFormat.SKLEARN_JOBLIB: "a compressed joblib file",
    SourceFormat.SKLEARN_SKOPS: "a skops archive",
    SourceFormat.ONNX: "an ONNX model",
    SourceFormat.TORCH_EXPORTED: "a program exported by PyTorch (.pt2)",
    SourceFormat.TORCH_SCRIPT: "a TorchScript archive",
    SourceFormat.TORCH_STATE: "a PyTorch archive of weights",
    SourceFormat.SAFETENSORS: "a safetensors file",
    SourceFormat.TF_SAVED_MODEL: "a TensorFlow SavedModel",
    SourceFormat.TFLITE: "a TensorFlow Lite model",
    SourceFormat.XGBOOST_JSON: "an XGBoost model in JSON",
    SourceFormat.XGBOOST_UBJ: "an XGBoost model in UBJSON",
    SourceFormat.LIGHTGBM_TEXT: "a LightGBM model",
    SourceFormat.CATBOOST_CBM: "a CatBoost model",
}
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18")
_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
# Known and not read: (offset, bytes, what it is).
_FOREIGN = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"GGUF", "a GGUF model"),
    (0, _TORCH_LEGACY, "a PyTorch file from before version 1.6"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def sniff(path: Path, name: str) -> SourceFormat:
    """Return the format of the file at `path`, which the user called `name`."""
    wanted = _formats_of(name)
    found = _look(path, wanted)
    if isinstance(found, SourceFormat) and found in wanted:
        return found
    title = _TITLES[found] if isinstance(found, SourceFormat) else found
    shown = shorten(name)
    if not wanted:
        raise UnsupportedError(f"'{shown}' is {title}, and its name says nothing that Fairlead reads.", hint=_READ)
    hint = "If that is right, give it the name that belongs to it." if isinstance(found, SourceFormat) else "Save the model again. " + _READ
    raise SourceError(f"'{shown}' is called {_suffix(name)}, but its content is {title}.", hint=hint)


def sniff_among(path: Path, name: str, formats: tuple[SourceFormat, ...]) -> SourceFormat:
    """Return the format of the file at `path` by its content alone: one of `formats`, whatever `name` says; raises SourceError."""
    found = _look(path, formats) if path.stat().st_size else "empty"
    if isinstance(found, SourceFormat) and found in formats:
        return found
    title = _TITLES[found] if isinstance(found, SourceFormat) else found
    wanted = ", ".join(_TITLES[item] for item in formats)
    raise SourceError(f"'{shorten(name)}' is {title}.", hint=f"Expected there: {wanted}.")


def has_suffix_of(name: str, source_format: SourceFormat) -> bool:
    """Whether `name` is what files of the format are called."""
    return source_format in _formats_of(name)


def _suffix(name: str) -> str:
    suffixes = PurePath(name.lower()).suffixes
    return "".join(suffixes[-2:]) if suffixes and suffixes[-1] in _COMPRESSED_SUFFIXES else "".join(suffixes[-1:]) or "without a suffix"


def _formats_of(name: str) -> tuple[SourceFormat, ...]:
    suffix = _suffix(name)
    for extra in _COMPRESSED_SUFFIXES:
        if suffix.endswith(extra) and suffix.removesuffix(extra) in (".pkl", ".pickle", ".joblib"):
            return (SourceFormat.SKLEARN_JOBLIB,)
    return _BY_SUFFIX.get(suffix, ())


def _look(path: Path, wanted: tuple[SourceFormat, ...]) -> SourceFormat | str:
    """Return the format, or what the file is instead."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(-1, 2)
        last = file.read(1)
    for offset, magic, title in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return title
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return SourceFormat.KERAS_H5
    if head[:4] == b"PK\x03\x04":
        return _look_into_zip(path)
    plain = _look_at_head(head)
    if plain is not None:
        return plain
    if head.startswith(_COMPRESSED) or _is_zlib(head):
        return SourceFormat.SKLEARN_JOBLIB
    if head[:1] == b"\x80" and head[1:2] in _bytes_of(range(2, 6)):
        return SourceFormat.SKLEARN_PICKLE
    if _is_onnx(head):
        return SourceFormat.ONNX
    # Protocols 0 and 1 have no magic; only a name that asks for a pickle makes one of them.
    if SourceFormat.SKLEARN_PICKLE in wanted and last == b"." and head[:1] in b"(]}cIKLNSUVXFGJM":
        return SourceFormat.SKLEARN_PICKLE
    return _describe(head)


def _look_at_head(head: bytes) -> SourceFormat | None:
    """Formats that their first bytes tell, none of which is a pickle."""
    if head[4:8] == b"TFL3":
        return SourceFormat.TFLITE
    if head[:4] == b"CBM1":
        return SourceFormat.CATBOOST_CBM
    if head[:5] in (b"tree\n", b"tree\r"):
        return SourceFormat.LIGHTGBM_TEXT
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**27:
        return SourceFormat.SAFETENSORS
    if head[:1] == b"{" and head[1:2] in _bytes_of(b"UiIlL$#") and b"learner" in head[:64]:
        return SourceFormat.XGBOOST_UBJ
    if head.lstrip()[:1] == b"{" and re.match(rb'\s*\{\s*"(learner|version)"\s*:', head):
        return SourceFormat.XGBOOST_JSON
    return None


def _look_into_zip(path: Path) -> SourceFormat | str:
    with open_zip(path) as members:
        names = members.names
    if "config.json" in names and "metadata.json" in names:
        return SourceFormat.KERAS_ZIP
    if "schema.json" in names:
        return SourceFormat.SKLEARN_SKOPS
    inner = [PurePath(name) for name in names]
    if any(path.name == "archive_format" or path.parts[1:2] == ("models",) for path in inner):
        return SourceFormat.TORCH_EXPORTED
    if any(path.name == "data.pkl" for path in inner):
        is_script = any(path.name == "constants.pkl" or "code" in path.parts[1:2] for path in inner)
        return SourceFormat.TORCH_SCRIPT if is_script else SourceFormat.TORCH_STATE
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays"
    return "a zip archive that is neither a Keras nor a skops model"


def _is_zlib(head: bytes) -> bool:
    """RFC 1950: deflate with a 32 KiB window, and a header that is a multiple of 31."""
    return len(head) > 2 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0


def _is_onnx(head: bytes) -> bool:
    """An ONNX ModelProto begins with its IR version (field 1, a varint of 3 or more) and goes on with a field that it has.

    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    fields = _bytes_of((0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA))
    return len(head) > 3 and head[0] == 0x08 and 3 <= head[1] < 64 and head[2:3] in fields


def _bytes_of(values: Iterable[int]) -> tuple[bytes, ...]:
    return tuple(bytes([value]) for value in values)


def _describe(head: bytes) -> str:
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        return "the .pb of a TensorFlow SavedModel (give the folder that it lies in)"
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return "nothing that Fairlead knows; it may be damaged"
    if all(char.isprintable() or char.isspace() for char in text):
        return "text (JSON)" if text.lstrip()[:1] in ("{", "[") else "text"
    return "nothing that Fairlead knows; it may be damaged"
