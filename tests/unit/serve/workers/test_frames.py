"""What travels between front and workers: everything comes back as it was, and nothing that does not fit gets through."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import CorruptError, MissingExtraError, RequestError, TooLargeError, UnavailableError
from fairlead.serve.workers import frames
from fairlead.serve.workers.control import decode_message, pack_golden, unpack_golden

NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]


def spec(dtype: DType, *shape: int | None) -> TensorSpec:
    return TensorSpec(f"t{dtype.value}", dtype, shape or (None, None))


def split(buffers: list) -> tuple[int, bytes, np.ndarray]:
    data = b"".join(buffers)
    sequence, head, body = frames.read_length(data, limit_bytes=1 << 30)
    start = frames.LENGTH_BYTES + head
    assert len(data) == start + body
    return sequence, data[frames.LENGTH_BYTES : start], np.frombuffer(data[start:], dtype=np.uint8)


def array(dtype: DType, rows: int, columns: int) -> np.ndarray:
    if dtype is DType.BYTES:
        return np.array([f"é{index}" * (index % 3) for index in range(rows * columns)], dtype=object).reshape(rows, columns)
    return (np.arange(rows * columns) % 2).astype(dtype.numpy).reshape(rows, columns)


@given(st.lists(st.tuples(st.sampled_from(list(DType)), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4))
def test_tensors_of_every_type_and_shape_come_back(kinds) -> None:
    specs = [TensorSpec(f"t{index}", dtype, (None, None)) for index, (dtype, _, _) in enumerate(kinds)]
    tensors = {one.name: array(dtype, rows, columns) for one, (dtype, rows, columns) in zip(specs, kinds, strict=True)}
    sequence, head, body = split(frames.pack_answer(7, specs, tensors))
    answer = frames.read_answer(head, specs, len(body))
    back = frames.read_tensors(answer.tensors, specs, body)
    assert sequence == 7
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert back[name].tolist() == tensor.tolist()


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_head_that_is_noise_is_believed(head, size) -> None:
    specs = [spec(DType.FP32), spec(DType.BYTES)]
    try:
        answer = frames.read_answer(head, specs, size)
    except CorruptError:
        return
    assert answer.fault is not None or sum(item.size_bytes + -item.size_bytes % 16 for item in answer.tensors) == size


@pytest.mark.parametrize(
    ("shape", "size", "body"),
    [
        ((2, 3), 20, 32),  # 24 bytes are right
        ((2, 3), 24, 24),  # without the padding
        ((2, 4), 32, 32),  # another width than the model has
        ((-2, -3), 24, 32),
        ((2,), 8, 16),
        ((1 << 62, 3), 24, 32),
        ((2, 3), 1 << 62, 1 << 62),
    ],
)
def test_an_answer_that_does_not_fit_the_interface_is_refused(shape, size, body) -> None:
    head = msgspec.msgpack.encode([[[list(shape), size]], None])
    with pytest.raises(CorruptError):
        frames.read_answer(head, [spec(DType.FP32, None, 3)], body)


@pytest.mark.parametrize("length", [(1, 1 << 17, 0), (1, 0, 1 << 31)])
def test_no_more_is_taken_than_was_agreed(length) -> None:
    with pytest.raises(CorruptError, match="more than may come"):
        frames.read_length(frames._LENGTH.pack(*length), limit_bytes=1 << 30)


@pytest.mark.parametrize(
    "texts", [b"\xff" * 32, np.array([0, 5, 3], np.int64).tobytes() + b"abc", np.array([0, 1, 2], np.int64).tobytes() + b"\xff\xfe"]
)
def test_texts_that_are_not_sound_are_refused(texts) -> None:
    size = len(texts)
    body = np.frombuffer(texts + bytes(-size % 16), dtype=np.uint8)
    specs = [spec(DType.BYTES, None)]
    head = msgspec.msgpack.encode([[[[2], size]], None])
    answer = frames.read_answer(head, specs, len(body))
    with pytest.raises(CorruptError):
        frames.read_tensors(answer.tensors, specs, body)


def test_a_boolean_that_is_neither_is_refused() -> None:
    specs = [spec(DType.BOOL, None)]
    answer = frames.read_answer(msgspec.msgpack.encode([[[[2], 2]], None]), specs, 16)
    with pytest.raises(CorruptError, match="neither true nor false"):
        frames.read_tensors(answer.tensors, specs, np.array([1, 2] + [0] * 14, np.uint8))


def test_an_engine_that_gives_another_type_than_it_says_is_refused() -> None:
    with pytest.raises(CorruptError, match="not as FP32"):
        frames.pack_answer(1, [spec(DType.FP32)], {"tFP32": np.zeros((1, 1))})


def fault(error: BaseException) -> frames.Fault:
    _, head, _ = split(frames.pack_fault(3, error))
    found = frames.read_answer(head, [], 0).fault
    assert found is not None
    return found


def test_errors_of_ours_come_back_as_what_they_are() -> None:
    error = frames.error_of(fault(TooLargeError("Too much.", hint="Send less.")))
    assert type(error) is TooLargeError
    assert str(error) == "Too much. Send less."
    assert type(frames.error_of(fault(MissingExtraError("openvino", needed_for="this")))) is MissingExtraError


def test_other_errors_say_their_kind_and_nothing_of_their_text() -> None:
    error = frames.error_of(fault(ValueError("/home/me/secret")))
    assert type(error) is UnavailableError
    assert "ValueError" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("kind", ["BaseException", "annotations", "FairleadError2", "", "__name__"])
def test_no_class_is_believed_that_is_none_of_ours(kind) -> None:
    assert type(frames.error_of(frames.Fault(kind, "boo"))) is UnavailableError


def test_a_lone_surrogate_is_refused_where_it_enters() -> None:
    with pytest.raises(RequestError, match="no text"):
        frames.pack_ask(1, [spec(DType.BYTES, None)], {"tBYTES": np.array(["\ud800"], dtype=object)}, ())


def test_golden_requests_come_back() -> None:
    interface = Interface((spec(DType.FP32), spec(DType.BYTES)), (spec(DType.INT64, None),))
    golden = Golden({"tFP32": array(DType.FP32, 3, 2), "tBYTES": array(DType.BYTES, 3, 1)}, {"tINT64": np.arange(3)}, 1e-3)
    back = unpack_golden(pack_golden(golden, interface), interface)
    assert back.tolerance == 1e-3
    assert back.inputs["tBYTES"].tolist() == golden.inputs["tBYTES"].tolist()
    assert not golden.mismatch(back.outputs)


@given(st.binary(max_size=100))
def test_no_message_that_is_noise_is_believed(data) -> None:
    try:
        decode_message(data)
    except CorruptError:
        return
    msgspec.msgpack.decode(data)
