"""What the front and a zygote say to each other: small MessagePack messages over a socket that keeps their borders, and descriptors.

Takes and gives values; raises CorruptError for bytes that are none. The front sends one thing, FORK, with a worker's end of a socket and
its page; everything else goes the other way.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np

from fairlead.core.golden import Golden
from fairlead.core.interface import Interface, Tensors, TensorSpec
from fairlead.errors import CorruptError
from fairlead.serve.workers.frames import Fault, Laid, lay_out, read_tensors

FORK = b"fork"
MESSAGE_BYTES = 1 << 16


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """Tensors by name, as a message holds them."""

    names: tuple[str, ...]
    laid: tuple[Laid, ...]
    body: bytes


class Rows(msgspec.Struct, array_like=True, frozen=True):
    """Golden requests, as a message holds them."""

    inputs: Parcel
    outputs: Parcel
    tolerance: float


class ZygoteJob(msgspec.Struct, frozen=True):
    """What a zygote opens, by which engine; whether it may be copied once it is open; how it proves itself; what copies may use."""

    label: str
    engine: str
    path: str
    interface: Interface
    is_fork_safe: bool
    golden: Rows | None
    front_pid: int
    memory_bytes: int
    session: tuple[str, ...] = ()


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The model is open and answers its golden requests; `is_shared` where copies share it, else each opens it for itself."""

    description: str
    element_ms: float
    is_shared: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be opened, or does not answer rightly."""

    fault: Fault


class Forked(msgspec.Struct, frozen=True, tag=True):
    """A worker was started; a descriptor that stands for it (man 2 pidfd_open) comes with this."""

    pid: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A worker has ended: exit code, negative for a signal."""

    pid: int
    code: int


Message: TypeAlias = Opened | Failed | Forked | Ended
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
decode_job = msgspec.msgpack.Decoder(ZygoteJob).decode


def decode_message(data: bytes) -> Message:
    """Return what a zygote said; raises CorruptError where it is nothing that one says."""
    try:
        message: Message = _decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CorruptError("A zygote says something that it cannot have to say.") from error
    return message


def pack_golden(golden: Golden, interface: Interface) -> Rows:
    """Return golden requests as a message holds them."""
    return Rows(_parcel(golden.inputs, interface.inputs), _parcel(golden.outputs, interface.outputs), golden.tolerance)


def unpack_golden(rows: Rows, interface: Interface) -> Golden:
    """Return the golden requests that `pack_golden` packed."""
    inputs = _tensors(rows.inputs, interface.inputs)
    return Golden(inputs, _tensors(rows.outputs, interface.outputs), rows.tolerance)


def _parcel(tensors: Tensors, specs: tuple[TensorSpec, ...]) -> Parcel:
    there = [spec for spec in specs if spec.name in tensors]
    laid, body = lay_out(there, [tensors[spec.name] for spec in there])
    return Parcel(tuple(spec.name for spec in there), laid, b"".join(body))


def _tensors(parcel: Parcel, specs: tuple[TensorSpec, ...]) -> Tensors:
    there = [spec for spec in specs if spec.name in parcel.names]
    return read_tensors(parcel.laid, there, np.frombuffer(parcel.body, dtype=np.uint8))
