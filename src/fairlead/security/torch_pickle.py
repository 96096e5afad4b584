"""What a pickle inside a PyTorch archive holds, found by an interpreter of our own: no pickle machine, nothing is imported or called.

Takes the bytes of one member and the exact globals that it may name; gives plain values, with a `TensorRecord` where a tensor stands.
Raises UnsafeContentError for an opcode, a global or a use of one that the writers of PyTorch do not produce, SourceError for damage. Every
number about a storage is checked with Python's integers before anything is allocated (F03).
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError

# torch's class of a storage -> (dtype, bytes of one element)
STORAGES: Mapping[str, tuple[str, int]] = {
    "torch:DoubleStorage": ("float64", 8), "torch:FloatStorage": ("float32", 4), "torch:HalfStorage": ("float16", 2),
    "torch:BFloat16Storage": ("bfloat16", 2), "torch:LongStorage": ("int64", 8), "torch:IntStorage": ("int32", 4),
    "torch:ShortStorage": ("int16", 2), "torch:CharStorage": ("int8", 1), "torch:ByteStorage": ("uint8", 1),
    "torch:BoolStorage": ("bool", 1),
}  # fmt: skip
# What a dictionary of tensors needs, and nothing else.
STATE_GLOBALS = frozenset(
    {"collections:OrderedDict", "torch._utils:_rebuild_tensor_v2", "torch._utils:_rebuild_parameter", "torch:Size", *STORAGES}
)
# What torch.export and TorchScript write beside: they are noted, never built.
PROGRAM_GLOBALS = STATE_GLOBALS | {"torch._tensor:_rebuild_from_type_v2", "torch:Tensor", "torch.nn.parameter:Parameter"}
SCRIPT_GLOBALS = STATE_GLOBALS | {
    f"torch.jit._pickle:{name}"
    for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
}  # fmt: skip
_SIZE_LIMIT, _AXIS_LIMIT = 2**48, 32
_HARM = "No program that saves models writes this; do not use the file."
_DAMAGED = "The file is damaged. Copy it again, or save the model again."


@dataclass(frozen=True)
class Storage:
    """Where a tensor's bytes lie: the member `data/<key>`, and the device that they were saved from."""

    dtype: str
    item_bytes: int
    key: str
    location: str
    count: int


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage; everything about it is in range."""

    storage: Storage
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Global:
    """A name that the pickle wants, on the list."""

    name: str


@dataclass(frozen=True)
class Made:
    """What calling a global would have made; nothing was called."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Parsed:
    """The value in a pickle, and every storage that it refers to."""

    value: Any
    storages: tuple[Storage, ...]


class _Mark:
    """The place of a MARK on the stack."""


def parse(data: bytes, allowed: frozenset[str], *, is_class: Callable[[str], bool] = lambda _: False) -> Parsed:
    """Return what the pickle `data` holds. `is_class` says which further globals are classes of the file's own."""
    machine = _Interpreter(allowed, is_class)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python only warns of an escape that it does not know; no writer makes one
            return Parsed(machine.run(data), tuple(machine.storages))
    except (ValueError, IndexError, KeyError, TypeError, UnicodeError, OverflowError, Warning) as error:
        raise SourceError(
            f"A pickle in the archive is damaged ({type(error).__name__}: {shorten(str(error), 100)}).", hint=_DAMAGED
        ) from None


def check_view(count: int, offset: Any, sizes: Any, strides: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return offset, sizes and strides of a view of `count` elements; raises SourceError where it reaches outside."""
    numbers = (offset, *sizes, *strides)
    if not all(type(number) is int and 0 <= number < _SIZE_LIMIT for number in numbers) or len(sizes) > _AXIS_LIMIT:
        raise SourceError("A tensor has a size, stride or offset that is no sound number.", hint=_DAMAGED)
    if len(sizes) != len(strides):
        raise SourceError("A tensor has more sizes than strides, or fewer.", hint=_DAMAGED)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if 0 not in sizes and last >= count:
        raise SourceError("A tensor reaches beyond the end of its storage.", hint=_DAMAGED)
    return offset, tuple(sizes), tuple(strides)


def element_count(sizes: tuple[int, ...]) -> int:
    """Return the product of `sizes`."""
    count = 1
    for size in sizes:
        count *= size
    return count


class _Interpreter:
    """Runs the opcodes that PyTorch's writers use on a stack of plain values."""

    def __init__(self, allowed: frozenset[str], is_class: Callable[[str], bool]) -> None:
        self._allowed = allowed
        self._is_class = is_class
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._position = 0
        self.storages: list[Storage] = []

    def run(self, data: bytes) -> Any:
        """Return what stands on the stack at the STOP, which has to be the last byte."""
        for opcode, argument, position in pickletools.genops(data):
            self._position = position or 0
            step = _STEPS.get(opcode.name)
            if step is None:
                raise UnsafeContentError(f"A pickle in the archive uses the opcode {opcode.name} at byte {position}.", hint=_HARM)
            step(self, argument)
        if self._position + 1 != len(data) or len(self._stack) != 1:
            raise UnsafeContentError("Something follows after the end of a pickle in the archive.", hint=_HARM)
        return self._stack[0]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take a value from the stack; a mark is not a value."""
        value = self._stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a mark in place of a value")  # noqa: TRY004 - damage of the stream, as all others
        return value

    def pop_many(self, count: int) -> tuple[Any, ...]:
        """Take `count` values, the oldest first."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[Any]:
        """Take everything down to the last mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[place], _Mark):
                taken = self._stack[place + 1 :]
                del self._stack[place:]
                return taken
        raise ValueError("there is no mark")

    def find(self, argument: str) -> None:
        """Push a global that is on the list, or a class of the file's own."""
        module, _, name = argument.partition(" ")
        if f"{module}:{name}" not in self._allowed and not self._is_class(f"{module}.{name}"):
            shown = shorten(f"{module}.{name}", 120)
            raise UnsafeContentError(
                f"The model file is not opened: global {shown} at byte {self._position} of a pickle is not on the allow-list.",
                hint="Save only the weights: torch.save(model.state_dict(), path), or export the model with torch.export.save.",
            )
        self.push(Global(f"{module}:{name}"))

    def put(self, place: int) -> None:
        """Remember the value on top."""
        self._memo[place] = self._stack[-1]

    def get(self, place: int) -> None:
        """Push what was remembered."""
        self.push(self._memo[place])

    def set_items(self, pairs: list[Any]) -> None:
        """Put pairs into the dictionary on top."""
        target = self._stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise UnsafeContentError("A pickle in the archive sets items of something that is no dictionary.", hint=_HARM)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float | None):
                raise UnsafeContentError("A pickle in the archive has a dictionary with keys that are not plain.", hint=_HARM)
            target[key] = value

    def append(self, items: list[Any]) -> None:
        """Put items into the list on top."""
        target = self._stack[-1]
        if not isinstance(target, list):
            raise UnsafeContentError("A pickle in the archive appends to something that is no list.", hint=_HARM)
        target.extend(items)

    def reduce(self, _: Any) -> None:
        """Push what calling the global below the arguments would have made."""
        function, arguments = self.pop_many(2)
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise UnsafeContentError("A pickle in the archive calls something that is no global.", hint=_HARM)
        self.push(_made(function.name, arguments))

    def new_object(self, _: Any) -> None:
        """Push an object of one of the file's own classes, without its state."""
        kind, arguments = self.pop_many(2)
        if not isinstance(kind, Global) or not self._is_class(kind.name.replace(":", ".")) or arguments != ():
            raise UnsafeContentError("A pickle in the archive makes an object of a class that is not its own.", hint=_HARM)
        self.push(Made(kind.name, ()))

    def build(self, _: Any) -> None:
        """Take a state off: of a dictionary (its `_metadata`), or of an object of the file's own classes."""
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, dict):
            is_sound = isinstance(state, dict) and set(state) <= {"_metadata"}
        else:
            is_sound = isinstance(target, Made) and self._is_class(target.name.replace(":", "."))
        if not is_sound:
            raise UnsafeContentError("A pickle in the archive sets the state of something that has none.", hint=_HARM)

    def persistent(self, _: Any) -> None:
        """Push the storage that a persistent id names."""
        identity = self.pop()
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise UnsafeContentError("A pickle in the archive refers to something that is no storage.", hint=_HARM)
        _, kind, key, location, count = identity
        if not isinstance(kind, Global) or kind.name not in STORAGES or not isinstance(key, str) or not isinstance(location, str):
            raise UnsafeContentError("A pickle in the archive has a storage of an unknown kind.", hint=_HARM)
        if type(count) is not int or not 0 <= count < _SIZE_LIMIT:
            raise SourceError("A storage has a size that is no sound number.", hint=_DAMAGED)
        dtype, item_bytes = STORAGES[kind.name]
        self.storages.append(Storage(dtype, item_bytes, key, location, count))
        self.push(self.storages[-1])


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "collections:OrderedDict" and arguments == ():
        return {}
    if name == "torch._utils:_rebuild_tensor_v2" and len(arguments) >= 6 and isinstance(arguments[0], Storage):
        storage, offset, sizes, strides = arguments[:4]
        if not isinstance(sizes, tuple) or not isinstance(strides, tuple):
            raise SourceError("A tensor has no sound shape.", hint=_DAMAGED)
        return TensorRecord(storage, *check_view(storage.count, offset, sizes, strides))
    if name == "torch._utils:_rebuild_parameter" and arguments and isinstance(arguments[0], TensorRecord):
        return arguments[0]
    if name in STORAGES or name in ("torch._utils:_rebuild_tensor_v2", "torch._utils:_rebuild_parameter"):
        raise UnsafeContentError(f"A pickle in the archive calls {name.replace(':', '.')} as PyTorch never does.", hint=_HARM)
    return Made(name, arguments)


def _push(value: Any) -> Callable[[_Interpreter, Any], None]:
    return lambda machine, _: machine.push(value() if callable(value) else value)


def _push_argument(machine: _Interpreter, argument: Any) -> None:
    machine.push(argument)


def _tuple(count: int) -> Callable[[_Interpreter, Any], None]:
    return lambda machine, _: machine.push(machine.pop_many(count))


def _protocol(_: _Interpreter, version: int) -> None:
    if version != 2:
        raise UnsafeContentError(f"A pickle in the archive has protocol {version}; PyTorch writes protocol 2.", hint=_HARM)


_STEPS: dict[str, Callable[[_Interpreter, Any], None]] = {
    "PROTO": _protocol,
    "STOP": lambda _machine, _: None,
    "MARK": _push(_Mark),
    "NONE": _push(None),
    "NEWTRUE": _push(value=True),
    "NEWFALSE": _push(value=False),
    "EMPTY_TUPLE": _push(()),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _push_argument),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Interpreter.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Interpreter.get),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.pop_many(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "GLOBAL": _Interpreter.find,
    "REDUCE": _Interpreter.reduce,
    "NEWOBJ": _Interpreter.new_object,
    "BUILD": _Interpreter.build,
    "BINPERSID": _Interpreter.persistent,
}
