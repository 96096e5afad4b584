"""What travels between the front and a worker: a length, a short MessagePack head, and the tensors' raw bytes. Nothing that could be code.

Takes tensors by their specs, which both sides know; gives buffers to write (`pack_ask`, `pack_answer`, `pack_fault`). Takes what came;
gives tensors and errors (`read_length`, `read_answer`, `read_tensors`, `error_of`). Raises CorruptError for every byte that does not fit:
the front believes nothing that a worker says about sizes and shapes, and allocates nothing before it has checked them. Never reads or
writes itself.

A frame: sequence number, bytes of the head, bytes of the body; head; body. In the body lies each tensor in turn, rounded up to 16 bytes:
numbers in C order as this machine holds them, texts as `security.resident_frames` lays them out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors, TensorSpec, shorten
from fairlead.errors import CorruptError, FairleadError, RequestError, UnavailableError
from fairlead.security import sandbox_answers
from fairlead.security.resident_frames import read_texts, text_bytes

_LENGTH = struct.Struct("=IIQ")  # sequence number, bytes of the head, bytes of the body
LENGTH_BYTES = _LENGTH.size
READY = 0  # the sequence number of a worker's first frame; asks begin at 1
_HEAD_LIMIT_BYTES = 1 << 16
_ALIGNMENT = 16
_DIMENSION_LIMIT = 32
_PADDING = bytes(_ALIGNMENT)
_WORDS_LIMIT = 2000
Buffer = bytes | memoryview


class Laid(msgspec.Struct, array_like=True, frozen=True):
    """A tensor as a head lists it; its name and type follow from its place in the list."""

    shape: tuple[int, ...]
    size_bytes: int


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """The inputs, all of them in the interface's order, and the numbers of the wanted outputs."""

    tensors: tuple[Laid, ...]
    outputs: tuple[int, ...]


class Fault(msgspec.Struct, array_like=True, frozen=True):
    """An error of ours by class, or what else was raised by its name."""

    kind: str
    message: str
    hint: str = ""


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """The wanted outputs in the order in which they were asked for; or what went wrong."""

    tensors: tuple[Laid, ...] = ()
    fault: Fault | None = None


_encode = msgspec.msgpack.Encoder().encode
decode_ask = msgspec.msgpack.Decoder(Ask).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def pack_ask(sequence: int, specs: Sequence[TensorSpec], inputs: Tensors, outputs: tuple[int, ...]) -> list[Buffer]:
    """Return the buffers of an ask. Raises RequestError for a text that is none."""
    laid, body = lay_out(specs, [inputs[spec.name] for spec in specs])
    return _frame(sequence, _encode(Ask(laid, outputs)), body)


def pack_answer(sequence: int, specs: Sequence[TensorSpec], outputs: Tensors) -> list[Buffer]:
    """Return the buffers of an answer with the outputs that `specs` name. Raises CorruptError for one of another type than its spec."""
    tensors = [np.asarray(outputs[spec.name]) for spec in specs]
    for spec, tensor in zip(specs, tensors, strict=True):
        if DType.of(tensor.dtype) is not spec.dtype:
            raise CorruptError(f"The engine gave '{spec.name}' as {tensor.dtype}, not as {spec.dtype.value}.")
    laid, body = lay_out(specs, tensors)
    return _frame(sequence, _encode(Answer(laid)), body)


def pack_fault(sequence: int, error: BaseException) -> list[Buffer]:
    """Return the buffers of an answer that says what went wrong."""
    return _frame(sequence, _encode(Answer((), fault_of(error))), [])


def pack_words(sequence: int, head: bytes) -> list[Buffer]:
    """Return the buffers of a frame with a head of its own kind and no tensors."""
    return _frame(sequence, head, [])


def fault_of(error: BaseException) -> Fault:
    """Return what the other side is told of `error`."""
    if isinstance(error, FairleadError):
        return Fault(type(error).__name__, error.message[:_WORDS_LIMIT], error.hint[:_WORDS_LIMIT])
    return Fault(type(error).__name__, str(error)[:_WORDS_LIMIT])


def read_length(data: Buffer | bytearray, *, limit_bytes: int) -> tuple[int, int, int]:
    """Return sequence number, bytes of the head and bytes of the body; raises CorruptError where they are more than may come."""
    sequence, head, body = _LENGTH.unpack_from(data)
    if head > _HEAD_LIMIT_BYTES or body > limit_bytes:
        raise CorruptError(f"A frame says that it holds {head} and {body} bytes, more than may come.")
    return sequence, head, body


def read_answer(head: Buffer, specs: Sequence[TensorSpec], body_bytes: int) -> Answer:
    """Return the head of an answer; raises CorruptError unless its tensors are what `specs` say and fill `body_bytes` exactly."""
    try:
        answer = _decode_answer(head)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CorruptError("The head of a frame is no answer.") from error
    if answer.fault is not None:
        if body_bytes or answer.tensors:
            raise CorruptError("An answer holds an error and tensors.")
        return answer
    check_laid(answer.tensors, specs, body_bytes)
    return answer


def check_laid(laid: Sequence[Laid], specs: Sequence[TensorSpec], body_bytes: int) -> None:
    """Raise CorruptError unless `laid` are tensors of `specs` that fill the body exactly; Python's integers do not overflow."""
    if len(laid) != len(specs):
        raise CorruptError(f"A frame holds {len(laid)} tensors instead of {len(specs)}.")
    total = 0
    for item, spec in zip(laid, specs, strict=True):
        _check_shape(item.shape, spec)
        count = math.prod(item.shape)
        least = 8 * (count + 1) if spec.dtype is DType.BYTES else count * spec.dtype.numpy.itemsize
        if item.size_bytes < least or (spec.dtype is not DType.BYTES and item.size_bytes != least):
            raise CorruptError(f"'{spec.name}' has {item.size_bytes} bytes, which does not fit its shape {list(item.shape)}.")
        total += item.size_bytes + -item.size_bytes % _ALIGNMENT
    if total != body_bytes:
        raise CorruptError("The head of a frame does not fit its body.")


def read_tensors(laid: Sequence[Laid], specs: Sequence[TensorSpec], body: Array) -> dict[str, Array]:
    """Return the tensors that lie in `body` (uint8) by name; numbers are views of it. Raises CorruptError for unsound texts."""
    tensors, start = {}, 0
    for item, spec in zip(laid, specs, strict=True):
        data = body[start : start + item.size_bytes]
        start += item.size_bytes + -item.size_bytes % _ALIGNMENT
        if spec.dtype is DType.BYTES:
            tensors[spec.name] = read_texts(data, math.prod(item.shape)).reshape(item.shape)
            continue
        if spec.dtype is DType.BOOL and (data > 1).any():
            raise CorruptError("A frame holds booleans that are neither true nor false.")
        tensors[spec.name] = data.view(spec.dtype.numpy).reshape(item.shape)
    return tensors


def error_of(fault: Fault) -> FairleadError:
    """Return the error that was raised in the worker; its texts are bounded and printable, its class is one of ours."""
    plain = {"class": fault.kind, "message": fault.message, "hint": fault.hint}
    if not sandbox_answers.is_sound({"error": plain}):
        return UnavailableError(f"The engine failed ({shorten(fault.kind)}).", hint="See the server's log.")
    return sandbox_answers.rebuild(plain, "The worker")


def _frame(sequence: int, head: bytes, body: list[Buffer]) -> list[Buffer]:
    return [_LENGTH.pack(sequence, len(head), sum(map(len, body))) + head, *body]


def lay_out(specs: Sequence[TensorSpec], tensors: Sequence[Array]) -> tuple[tuple[Laid, ...], list[Buffer]]:
    """Return what a head lists of `tensors`, and the buffers of the body. Raises RequestError for a text that is none."""
    laid, body = [], []
    for spec, tensor in zip(specs, tensors, strict=True):
        data: Buffer
        if spec.dtype is DType.BYTES:
            try:
                data = text_bytes(tensor)
            except ValueError as error:  # a lone surrogate is one too
                raise RequestError(f"'{spec.name}' holds something that is no text: {error}.", hint="Send UTF-8 strings only.") from None
        else:
            data = np.ascontiguousarray(tensor, dtype=spec.dtype.numpy).reshape(-1).view(np.uint8).data
        size = len(data)
        laid.append(Laid(tensor.shape, size))
        if size:
            body.append(data)
        if size % _ALIGNMENT:
            body.append(_PADDING[: -size % _ALIGNMENT])
    return tuple(laid), body


def _check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    fits = len(shape) == len(spec.shape) <= _DIMENSION_LIMIT and all(
        got >= 0 and want in (None, got) for want, got in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise CorruptError(f"'{spec.name}' has shape {list(shape)[:_DIMENSION_LIMIT]}, which is not {spec.describe()}.")
