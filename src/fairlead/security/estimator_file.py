"""Opens a scikit-learn estimator file: pickle, joblib or skops. For the sandboxed worker only.

Takes a path and a format, gives the estimator. Raises UnsafeContentError for anything that is not on the allow-list, SourceError for
damage, MissingExtraError without scikit-learn. This is the one place in Fairlead that unpickles. There is no second try with another
loader.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import Array, shorten
from fairlead.errors import FairleadError, MissingExtraError, SourceError, UnsafeContentError, UnsupportedError
from fairlead.security import pickle_check
from fairlead.security.booster_state import BoosterGuard
from fairlead.security.pickle_stream import open_pickle_stream
from fairlead.security.skops_check import check_skops, trusted_types

_Machine: Any = pickle._Unpickler  # noqa: SLF001 - the C machine reads ahead, and joblib puts raw bytes between opcodes


def load_estimator(path: Path, format: str) -> object:  # noqa: A002 - the name that the sandbox's arguments use
    """Check the file, then open it. `format` is a `SourceFormat` value that the caller found from the content."""
    if format in (SourceFormat.SKLEARN_PICKLE, SourceFormat.SKLEARN_JOBLIB):
        pickle_check.require_safe(pickle_check.check_pickle(path))
        return _open(_open_pickle, path)
    if format == SourceFormat.SKLEARN_SKOPS:
        pickle_check.require_safe(check_skops(path))
        return _open(_open_skops, path)
    raise UnsupportedError(f"'{shorten(format)}' is not an estimator file format.", hint="Known: pickle, joblib, skops.")


def _open(opener: Callable[[Path], object], path: Path) -> object:
    try:
        importlib.import_module("sklearn")
    except ModuleNotFoundError:
        raise MissingExtraError("sklearn", needed_for="A scikit-learn model") from None
    try:
        return opener(path)
    except (FairleadError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - an estimator's own __setstate__ may raise anything for a state of another release
        raise SourceError(
            f"The estimator cannot be restored: {type(error).__name__}: {shorten(str(error), 200)}.",
            hint="Save it again, with the installed release of scikit-learn if you can.",
        ) from None


def _open_pickle(path: Path) -> object:
    with open_pickle_stream(path) as stream, BoosterGuard() as guard:
        return _Opener(stream, guard).load()


def _open_skops(path: Path) -> object:
    try:
        skops_io = importlib.import_module("skops.io")
    except ModuleNotFoundError:
        raise MissingExtraError("sklearn", needed_for="A skops file") from None
    trusted = trusted_types(path)
    with BoosterGuard() as guard:
        for module in sorted({name.rpartition(".")[0] for name in trusted}):
            guard.protect(module)
        return skops_io.load(path, trusted=trusted)


class _ArrayFrame:
    """What joblib writes before the bytes of an array."""

    subclass: Any
    shape: Any
    order: str
    dtype: Any
    numpy_array_alignment_bytes: int | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("subclass", "shape", "order", "dtype", "numpy_array_alignment_bytes"):
            if name in state:
                setattr(self, name, state[name])


class _CheckArray:
    """Stands in for the one partial function that an estimator may keep: it can call check_array and nothing else."""

    def __new__(cls, function: Any) -> Self:
        """Refuse every other function."""
        if function is not _check_array():
            raise UnsafeContentError("The pickle keeps functools.partial of something else than check_array.")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        _, _, named, _ = state
        if not pickle_check.is_check_options(named, lambda item: item is np.float64):
            raise UnsafeContentError("The pickle keeps check_array with other options than scikit-learn's.")
        self._options = named

    def __call__(self, rows: Any) -> Any:
        return _check_array()(rows, **self._options)


def _check_array() -> Any:
    module, name = pickle_check.CHECK_ARRAY
    return getattr(importlib.import_module(module), name)


class _Opener(_Machine):  # type: ignore[misc] # Any by intention, see above
    """Python's pickle machine that knows the allow-list and nothing else."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Machine.dispatch)

    def __init__(self, stream: BinaryIO, guard: BoosterGuard) -> None:
        super().__init__(stream)
        self._stream = stream
        self._guard = guard

    def find_class(self, module: str, name: str) -> Any:
        """Return a global of the allow-list; raises UnsafeContentError for all others."""
        if self.proto < 3:
            module, name = pickle_check.modern_name(module, name)
        if (module, name) == (pickle_check.FRAME_MODULE, pickle_check.FRAME_NAME):
            return _ArrayFrame
        if (module, name) == pickle_check.PARTIAL:
            return _CheckArray
        if not pickle_check.is_allowed(module, name):
            raise UnsafeContentError(f"Global {shorten(f'{module}.{name}', 120)} is not on the allow-list.")
        try:
            found: Any = importlib.import_module(pickle_check.current_module(module))
            self._guard.protect(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            raise UnsupportedError(
                f"The installed libraries have no {shorten(f'{module}.{name}', 120)}.",
                hint="The model was saved with another release of scikit-learn; install that one, or save the model again.",
            ) from None
        return found

    def load_build(self) -> None:
        """Set an object's state; put the array in the place of joblib's wrapper."""
        if isinstance(self.stack[-2], type):
            raise UnsafeContentError("The pickle changes a class instead of an object.")
        _Machine.load_build(self)
        if isinstance(self.stack[-1], _ArrayFrame):
            self.stack[-1] = self._read_array(self.stack[-1])

    dispatch[pickle.BUILD[0]] = load_build

    def _read_array(self, frame: _ArrayFrame) -> Array:
        count = pickle_check.item_count(frame.shape)
        if not isinstance(frame.dtype, np.dtype) or frame.subclass not in (np.ndarray, np.memmap):
            raise UnsupportedError("The joblib file holds an array of an unusual class.", hint="Save the model with skops instead.")
        if frame.dtype.hasobject:
            nested = _Opener(self._stream, self._guard).load()
            if not isinstance(nested, np.ndarray):
                raise SourceError("The joblib file holds something else where an array should be.", hint="Save the model again.")
            return nested
        pickle_check.skip_padding(self._stream, frame.numpy_array_alignment_bytes)
        data = self._stream.read(count * frame.dtype.itemsize)
        flat = np.frombuffer(bytearray(data), dtype=frame.dtype, count=count)
        array = flat.reshape(frame.shape[::-1]).transpose() if frame.order == "F" else flat.reshape(frame.shape)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
