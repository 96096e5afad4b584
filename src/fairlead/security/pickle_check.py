"""What a pickle or joblib file would import and call, found without importing or calling any of it.

Takes a path, gives findings; raises SourceError where the bytes cannot be a pickle at all. The stream is run by Python's own pickle
machine, in which every global is an inert stand-in: nothing of the file's choosing is imported, looked up or called. Two things are asked
of a file: every global is on the list of exact `module:name` entries in estimator_globals.txt (no prefixes, no patterns), and the stream
ends with exactly one STOP at the end of the file. Meant for the sandboxed worker: a hostile stream may use all the memory that there is.
"""

from __future__ import annotations

import _compat_pickle
import functools
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from fairlead.core.artifact import Finding
from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError
from fairlead.security.pickle_stream import open_pickle_stream

FRAME_MODULE, FRAME_NAME = "joblib.numpy_pickle", "NumpyArrayWrapper"
# Histogram gradient boosting with categories keeps partial(check_array, dtype=[float64], ensure_all_finite=False), and nothing else may.
PARTIAL = ("functools", "partial")
CHECK_ARRAY = ("sklearn.utils.validation", "check_array")
_CHECK_OPTIONS = ("ensure_all_finite", "force_all_finite")  # the name before scikit-learn 1.6
_LIST_FILE = Path(__file__).with_name("estimator_globals.txt")
_FINDING_LIMIT = 100
_NOT_A_STREAM = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError,
    ImportError, MemoryError, RecursionError, AssertionError, struct.error,
)  # fmt: skip
_REFUSED_OPCODES = {
    pickle.EXT1: "an extension registry code", pickle.EXT2: "an extension registry code", pickle.EXT4: "an extension registry code",
    pickle.PERSID: "a reference to an object outside", pickle.BINPERSID: "a reference to an object outside",
    pickle.NEXT_BUFFER: "a buffer outside", pickle.READONLY_BUFFER: "a buffer outside",
}  # fmt: skip


@functools.cache
def allowed_globals() -> frozenset[str]:
    """Return the `module:name` entries that an estimator file may use."""
    lines = _LIST_FILE.read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def is_allowed(module: str, name: str) -> bool:
    """Whether exactly this global is on the list; numpy 1 wrote `numpy.core` for what is `numpy._core` now."""
    return f"{current_module(module)}:{name}" in allowed_globals()


def current_module(module: str) -> str:
    """Return today's name of a module that numpy 2 renamed, else the name as it is."""
    return "numpy._core" + module[len("numpy.core") :] if module == "numpy.core" or module.startswith("numpy.core.") else module


def check_pickle(path: Path) -> tuple[Finding, ...]:
    """Return what is unsafe or noteworthy in a pickle or joblib file. A damaged stream is an unsafe finding, too."""
    with open_pickle_stream(path) as stream:
        record = _Record()
        try:
            walker = _Walker(stream, record)
            walker.load()
            walker.judge_partials()
            if stream.read(1):
                record.refuse("something follows after the end of the pickle", "")
        except _NOT_A_STREAM as error:
            record.refuse(f"the pickle breaks off or is damaged ({type(error).__name__}: {shorten(str(error), 80)})", _at(stream))
    return tuple(record.findings)


def require_safe(findings: tuple[Finding, ...]) -> None:
    """Raise for the unsafe findings: UnsafeContentError, or SourceError where damage is all there is."""
    unsafe = [finding.what for finding in findings if finding.is_unsafe]
    if not unsafe:
        return
    if len(unsafe) == 1 and unsafe[0].startswith("the pickle breaks off"):
        raise SourceError(f"The model file cannot be read: {unsafe[0]}.", hint="Copy or save it again.")
    more = f" and {len(unsafe) - 5} more" if len(unsafe) > 5 else ""
    raise UnsafeContentError(
        f"The model file is not opened: {'; '.join(unsafe[:5])}{more}.",
        hint="Save the estimator with skops (skops.io.dump) or convert it to ONNX where it was trained; own classes are not loaded.",
    )


class _Record:
    """What a walk has found so far."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._seen: set[str] = set()

    def refuse(self, what: str, where: str) -> None:
        self._add(Finding(is_unsafe=True, what=what, where=where))

    def mention(self, what: str, where: str) -> None:
        self._add(Finding(is_unsafe=False, what=what, where=where))

    def _add(self, finding: Finding) -> None:
        if finding.what not in self._seen and len(self.findings) < _FINDING_LIMIT:
            self._seen.add(finding.what)
            self.findings.append(finding)


class _Inert:
    """Stands for a global and for whatever would have been made from it. Takes everything, does nothing."""

    def __new__(cls, *arguments: Any, **_: Any) -> Self:
        inert = super().__new__(cls)
        inert.arguments = arguments
        inert.state = None
        return inert

    arguments: tuple[Any, ...]
    state: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take an item as a list would."""

    def extend(self, items: Any) -> None:
        """Take items as a list would."""

    def add(self, item: Any) -> None:
        """Take an item as a set would."""


class _Partial(_Inert):
    """Stands for functools.partial; each one that is made is noted."""

    made: ClassVar[list[_Partial]] = []

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Note the new one."""
        partial = super().__new__(cls, *arguments, **named)
        cls.made.append(partial)
        return partial

    @property
    def is_check_array(self) -> bool:
        """Whether it is the one that scikit-learn writes."""
        first = self.arguments[0] if len(self.arguments) == 1 else None
        state = self.state
        if not _is_stand_in(first, CHECK_ARRAY) or not isinstance(state, tuple) or len(state) != 4:
            return False
        function, positional, named, names = state
        return _is_stand_in(function, CHECK_ARRAY) and positional == () and is_check_options(named, _is_double) and not names


def is_check_options(named: Any, is_double: Callable[[Any], bool]) -> bool:
    """Whether these are the options of check_array that scikit-learn writes; `is_double` tells the type's stand-in."""
    if not isinstance(named, dict) or len(named) != 2 or type(named.get("dtype")) is not list or len(named["dtype"]) != 1:
        return False
    return is_double(named["dtype"][0]) and any(named.get(option) is False for option in _CHECK_OPTIONS)


def _is_double(item: Any) -> bool:
    return _is_stand_in(item, ("numpy", "float64"))


def _is_stand_in(item: Any, path: tuple[str, str]) -> bool:
    return isinstance(item, type) and getattr(item, "path", None) == path


class _Frame(_Inert):
    """Stands for joblib's wrapper: the array's bytes follow in the file."""


class _Dtype(_Inert):
    """Stands for numpy.dtype."""

    def item_bytes(self) -> int:
        """Return the size of one item; 0 for Python objects. Raises ValueError for what no joblib file holds."""
        code = str(self.arguments[0]) if self.arguments else ""
        kind, digits = code.lstrip("<>|=")[:1], code.lstrip("<>|=")[1:]
        if kind == "O":
            return 0
        if kind not in "biufcSUVMm?" or not digits.isdecimal():
            raise ValueError(f"unknown element type {code[:20]}")
        return int(digits) * (4 if kind == "U" else 1)


_Machine: Any = pickle._Unpickler  # noqa: SLF001 - the C machine reads ahead, and joblib puts raw bytes between opcodes


class _Walker(_Machine):  # type: ignore[misc] # Any by intention, see above
    dispatch: ClassVar[dict[int, Any]] = dict(_Machine.dispatch)

    def __init__(self, stream: BinaryIO, record: _Record) -> None:
        super().__init__(stream)
        self._stream = stream
        self._record = record
        self._partials: list[_Partial] = []

    def judge_partials(self) -> None:
        """Refuse partial functions that are not the one that scikit-learn writes."""
        if not all(partial.is_check_array for partial in self._partials):
            self._record.refuse("global functools.partial is not on the allow-list, but for scikit-learn's own check_array", "")

    def find_class(self, module: str, name: str) -> type[_Inert]:
        """Note a global and return its stand-in."""
        if self.proto < 3:
            module, name = modern_name(module, name)
        if (module, name) == (FRAME_MODULE, FRAME_NAME):
            return _Frame
        if (module, name) == PARTIAL:
            return type("_Global", (_Partial,), {"made": self._partials})
        if not is_allowed(module, name):
            self._record.refuse(f"global {shorten(f'{module}.{name}', 120)} is not on the allow-list", _at(self._stream))
        return type("_Global", (_Dtype if name == "dtype" else _Inert,), {"path": (module, name)})

    def load_build(self) -> None:
        """Set a stand-in's state; skip the array that follows joblib's wrapper."""
        _Machine.load_build(self)
        target = self.stack[-1]
        if isinstance(target, type):
            self._record.refuse("it changes a class instead of an object", _at(self._stream))
        elif isinstance(target, _Frame):
            self._skip_array(target.state)
        elif isinstance(target, _Inert) and isinstance(target.state, dict) and target.state.get("stop_words_"):
            self._record.mention("it carries words of the training texts (stop_words_)", _at(self._stream))

    dispatch[pickle.BUILD[0]] = load_build

    def _skip_array(self, state: Any) -> None:
        dtype, shape = state["dtype"], state["shape"]
        if not isinstance(dtype, _Dtype):
            raise ValueError("an array without an element type")  # noqa: TRY004 - damage of the stream, as all others
        item_bytes = dtype.item_bytes()
        if item_bytes == 0:
            nested = _Walker(self._stream, self._record)
            nested.load()
            nested.judge_partials()
            return
        skip_padding(self._stream, state.get("numpy_array_alignment_bytes"))
        left = item_bytes * item_count(shape)
        here = self._stream.tell()
        if self._stream.seek(0, 2) < here + left:
            raise EOFError("an array breaks off")
        self._stream.seek(here + left)


def modern_name(module: str, name: str) -> tuple[str, str]:
    """Return what Python 3 calls a global of Python 2."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[(module, name)]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def item_count(shape: Any) -> int:
    """Return the product of a shape of plain, non-negative integers; raises ValueError for others."""
    if not isinstance(shape, tuple) or not all(type(size) is int and 0 <= size < 2**48 for size in shape) or len(shape) > 32:
        raise ValueError("an array without a proper shape")
    count = 1
    for size in shape:
        count *= size
    return count


def skip_padding(stream: BinaryIO, alignment: Any) -> None:
    """Skip the bytes that joblib 1.2 and later puts before an array; their number comes first."""
    if alignment is None:
        return
    (length,) = stream.read(1)
    if len(stream.read(length)) != length:
        raise EOFError("an array breaks off")


def _refuse(what: str) -> Callable[[_Walker], None]:
    def refuse(_: _Walker) -> None:
        raise pickle.UnpicklingError(f"it needs {what}")

    return refuse


for _opcode, _what in _REFUSED_OPCODES.items():
    _Walker.dispatch[_opcode[0]] = _refuse(_what)


def _at(stream: BinaryIO) -> str:
    return f"before byte {stream.tell()}"
