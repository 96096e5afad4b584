"""ModelInfer and ModelStreamInfer against a listening server: what is answered, and what is refused with which status."""

from __future__ import annotations

import gzip
import struct
import zlib

import numpy as np
import pytest
from http2_peer import STREAM, Peer, doubled, framed, request, server

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.serve import long_bodies
from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc import inference
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.steps import in_turn

INVALID, DEADLINE, MISSING, EXHAUSTED, UNIMPLEMENTED = 3, 4, 5, 8, 12
FIELDS = {
    DType.BOOL: ("bool_contents", [True, False]),
    DType.INT8: ("int_contents", [-128, 127]),
    DType.INT16: ("int_contents", [-(2**15), 2**15 - 1]),
    DType.INT32: ("int_contents", [-(2**31), 2**31 - 1]),
    DType.INT64: ("int64_contents", [-(2**63), 2**63 - 1]),
    DType.UINT8: ("uint_contents", [0, 255]),
    DType.UINT16: ("uint_contents", [0, 65535]),
    DType.UINT32: ("uint_contents", [0, 2**32 - 1]),
    DType.UINT64: ("uint64_contents", [0, 2**64 - 1]),
    DType.FP32: ("fp32_contents", [1.5, float("-inf")]),
    DType.FP64: ("fp64_contents", [5e-324, float("inf")]),
    DType.BYTES: ("bytes_contents", ["", "grüße"]),
}


class Echo:
    """One input and one output of each type; each output is its input. Only the inputs that are named are needed."""

    description = "echo 1"

    def __init__(self, dtype: DType) -> None:
        self.interface = Interface((TensorSpec("x", dtype, (None, 2)),), (TensorSpec("y", dtype, (None, 2)),))

    def run(self, inputs, _outputs=()):
        return {"y": inputs["x"]}

    def close(self) -> None:
        pass


@pytest.fixture(scope="module", params=[*FIELDS, DType.FP16], ids=str)
def typed(request):
    with server(Echo(request.param)) as running, Peer(running.server.grpc_address) as peer:
        yield request.param, peer


def tensors(dtype: str, shape=(1, 2), **contents):
    message = MESSAGES["ModelInferRequest"](model_name="m")
    tensor = message.inputs.add(name="x", datatype=dtype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return message


def raw_of(dtype: DType, values) -> bytes:
    if dtype is DType.BYTES:
        return b"".join(struct.pack("<I", len(item.encode())) + item.encode() for item in values)
    return np.array(values, dtype.numpy.newbyteorder("<")).tobytes()


def parsed(found):
    assert found.status == 0, found.text
    return MESSAGES["ModelInferResponse"].FromString(found.messages[0])


def test_typed_and_raw_contents_give_equal_answers_each_in_its_own_form(typed):
    dtype, peer = typed
    if dtype is DType.FP16:
        return
    field, values = FIELDS[dtype]
    sent = [item.encode() for item in values] if dtype is DType.BYTES else values
    answer = parsed(peer.call(tensors(dtype.value, **{field: sent}).SerializeToString()))
    assert list(getattr(answer.outputs[0].contents, field)) == sent
    assert not answer.raw_output_contents
    message = tensors(dtype.value)
    message.raw_input_contents.append(raw_of(dtype, values))
    raw = parsed(peer.call(message.SerializeToString()))
    assert raw.raw_output_contents[0] == raw_of(dtype, values)
    assert not raw.outputs[0].HasField("contents")
    for given in (answer, raw):
        assert (given.outputs[0].name, given.outputs[0].datatype, list(given.outputs[0].shape)) == ("y", dtype.value, [1, 2])


def test_half_floats_have_a_raw_form_only(typed):
    dtype, peer = typed
    if dtype is not DType.FP16:
        return
    message = tensors("FP16")
    message.raw_input_contents.append(np.array([0.5, np.nan], np.float16).tobytes())
    assert parsed(peer.call(message.SerializeToString())).raw_output_contents[0] == message.raw_input_contents[0]
    found = peer.call(tensors("FP16", fp32_contents=[1.0, 2.0]).SerializeToString())
    assert (found.status, "FP16" in found.text) == (INVALID, True)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("INT8", [128, 0]), ("INT8", [-129, 0]), ("UINT8", [256, 0]), ("INT16", [2**15, 0]), ("UINT16", [65536, 0])],
)
def test_a_number_that_does_not_fit_is_refused_and_never_wraps(dtype, values):
    with server(Echo(DType(dtype))) as running, Peer(running.server.grpc_address) as peer:
        field = "uint_contents" if dtype.startswith("U") else "int_contents"
        found = peer.call(tensors(dtype, **{field: values}).SerializeToString())
        assert (found.status, "Its range is" in found.text) == (INVALID, True)


def test_the_answer_names_model_version_and_id(peer):
    answer = parsed(peer.call(request(id="mine")))
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "mine")
    assert not parsed(peer.call(request())).id


@pytest.mark.parametrize("version", ["1", "v1", ""])
def test_a_version_may_be_named_or_not(peer, version):
    assert parsed(peer.call(request(model_version=version))).model_version == "1"


def broken_requests():
    good = MESSAGES["ModelInferRequest"].FromString(request())

    def changed(change):
        message = MESSAGES["ModelInferRequest"]()
        message.CopyFrom(good)
        change(message)
        return message.SerializeToString()

    def other_shape(*shape):
        def change(message):
            del message.inputs[0].shape[:]
            message.inputs[0].shape.extend(shape)

        return change

    return {
        "not protobuf": (b"\xff\xff\xff", INVALID),
        "empty": (b"", MISSING),
        "a name that is not UTF-8": (b"\x0a\x02\xc3\x28", INVALID),
        "unknown model": (changed(lambda m: setattr(m, "model_name", "other")), MISSING),
        "unknown version": (changed(lambda m: setattr(m, "model_version", "7")), MISSING),
        "version that is no number": (changed(lambda m: setattr(m, "model_version", "../1")), MISSING),
        "no inputs": (changed(lambda m: (m.ClearField("inputs"), m.ClearField("raw_input_contents"))), INVALID),
        "unknown input": (changed(lambda m: setattr(m.inputs[0], "name", "z")), INVALID),
        "input given twice": (changed(lambda m: (m.inputs.append(m.inputs[0]), m.raw_input_contents.append(b"\0" * 8))), INVALID),
        "wrong datatype": (changed(lambda m: setattr(m.inputs[0], "datatype", "INT32")), INVALID),
        "unknown datatype": (changed(lambda m: setattr(m.inputs[0], "datatype", "FP7")), INVALID),
        "negative dimension": (changed(other_shape(-1, 2)), INVALID),
        "dimension of 0": (changed(other_shape(0, 2)), INVALID),
        "shape that does not fit": (changed(other_shape(2, 1)), INVALID),
        "huge shape": (changed(other_shape(2**62, 2**62)), INVALID),
        "many dimensions": (changed(other_shape(*[1] * 40)), INVALID),
        "too few raw contents": (changed(lambda m: m.inputs.append(m.inputs[0])), INVALID),
        "too many raw contents": (changed(lambda m: m.raw_input_contents.append(b"")), INVALID),
        "raw and typed contents": (changed(lambda m: m.inputs[0].contents.fp32_contents.append(1.0)), INVALID),
        "raw contents too short": (changed(lambda m: m.raw_input_contents.__setitem__(0, b"\0" * 7)), INVALID),
        "unknown output": (changed(lambda m: m.outputs.add(name="z")), INVALID),
        "output asked for twice": (changed(lambda m: (m.outputs.add(name="y"), m.outputs.add(name="y"))), INVALID),
        "reserved parameter": (changed(lambda m: setattr(m.parameters["sequence_id"], "int64_param", 5)), INVALID),
        "reserved parameter of an input": (
            changed(lambda m: setattr(m.inputs[0].parameters["shared_memory_region"], "string_param", "r")),
            INVALID,
        ),
        "reserved parameter of an output": (
            changed(lambda m: setattr(m.outputs.add(name="y").parameters["classification"], "int64_param", 3)),
            INVALID,
        ),
        "negative priority": (changed(lambda m: setattr(m.parameters["priority"], "int64_param", -1)), INVALID),
        "65 inputs": (changed(lambda m: [m.inputs.add(name="x") for _ in range(64)]), INVALID),
        "65 outputs": (changed(lambda m: [m.outputs.add(name="y") for _ in range(65)]), INVALID),
    }


@pytest.mark.parametrize("case", broken_requests(), ids=str)
def test_a_request_that_does_not_fit_is_refused_and_the_connection_stays_good(peer, case):
    content, status = broken_requests()[case]
    found = peer.call(content)
    assert found.status == status
    assert found.text
    assert not {"/", "0x", "Traceback", "fairlead."} & set(found.text.replace("%", " ").split())
    assert doubled(peer.call(request()).messages[0]).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    "contents", [{"fp64_contents": [1.0, 2.0]}, {"fp32_contents": [1.0]}, {"fp32_contents": [1.0, 2.0], "int_contents": [1]}, {}]
)
def test_typed_contents_in_another_field_or_of_another_count_are_refused(peer, contents):
    assert peer.call(tensors("FP32", **contents).SerializeToString()).status == INVALID


def test_all_five_kinds_of_parameters_are_taken(peer):
    message = MESSAGES["ModelInferRequest"].FromString(request())
    for kind, value in (("bool", True), ("int64", -5), ("string", "text"), ("double", 0.5), ("uint64", 2**63)):
        setattr(message.parameters[f"of_{kind}"], f"{kind}_param", value)
    message.parameters["priority"].uint64_param = 1
    message.parameters["nothing"].SetInParent()
    assert parsed(peer.call(message.SerializeToString())).model_name == "m"


def test_unknown_fields_are_passed_over(peer):
    assert parsed(peer.call(request() + b"\xf2\x7f\x03abc")).model_name == "m"


def test_a_request_whose_time_has_passed_is_not_begun(peer):
    found = peer.call(request(), grpc_timeout="0n")
    assert found.status == DEADLINE
    message = MESSAGES["ModelInferRequest"].FromString(request())
    message.parameters["timeout"].int64_param = 1
    assert peer.call(message.SerializeToString()).status in {DEADLINE, 0}


def test_a_timeout_that_is_no_time_is_refused(peer):
    for text in ("5", "S", "-1S", "123456789S", "1.5S", "5X"):
        assert peer.call(request(), grpc_timeout=text).status == INVALID


def test_the_request_id_comes_back_and_a_call_without_one_gets_one(peer):
    assert peer.call(request(), extra=[("x-request-id", "abc-123")]).headers["x-request-id"] == "abc-123"
    ids = {peer.call(request()).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert peer.call(request(), extra=[("x-request-id", "two words")]).headers["x-request-id"] != "two words"
    assert peer.call(b"", extra=[("x-request-id", "of-an-error")]).headers["x-request-id"] == "of-an-error"


# Compression


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_compressed_messages_are_taken_and_answered_plainly(peer, name, compress):
    stream = peer.begin(compress(request()), flag=1, grpc_encoding=name)
    assert doubled(peer.answer(stream).messages[0]).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(request(), mtime=0)[:-3], "gzip", INVALID),
        (b"not gzip", "gzip", INVALID),
        (gzip.compress(request(), mtime=0) + b"more", "gzip", INVALID),
        (gzip.compress(bytes(2**21), mtime=0), "gzip", EXHAUSTED),
        (request(), "br", UNIMPLEMENTED),
        (request(), None, UNIMPLEMENTED),
    ],
)
def test_what_is_not_properly_compressed_or_inflates_too_far_is_refused(content, encoding, status):
    with server(grpc_limits=GrpcLimits(message_bytes=2**20)) as running, Peer(running.server.grpc_address) as peer:
        found = peer.answer(peer.begin(content, flag=1, grpc_encoding=encoding))
        assert found.status == status
        if status == UNIMPLEMENTED:
            assert found.headers["grpc-accept-encoding"] == "identity,deflate,gzip"
        assert peer.call(request()).status == 0


# Messages of a call


def test_a_call_without_a_message_or_with_two_or_half_of_one_is_refused(peer):
    whole = framed(request())
    for content in (b"", whole + whole, whole[:-1], whole[:3], b"\x02" + whole[1:]):
        stream = peer.open()
        peer.send(peer.data(stream, content))
        assert peer.answer(stream).status == INVALID
    assert peer.answer(peer.open(end=True)).status == INVALID


def test_a_message_may_come_in_pieces_and_end_with_an_empty_frame(peer):
    stream = peer.open()
    for byte in framed(request()):
        peer.send(h2.frame(h2.DATA, 0, stream, bytes((byte,))))
    peer.send(h2.frame(h2.DATA, h2.END_STREAM, stream))
    assert peer.answer(stream).status == 0


def test_a_message_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused_before_it_has_come():
    message = request(np.zeros((1000, 2), np.float32))
    with server(grpc_limits=GrpcLimits(message_bytes=len(message))) as running, Peer(running.server.grpc_address) as peer:
        assert peer.call(message).status == 0
        stream = peer.open()
        peer.send(h2.frame(h2.DATA, 0, stream, struct.pack(">BI", 0, len(message) + 1)))
        found = peer.answer(stream)
        assert (found.status, str(len(message)) in found.text) == (EXHAUSTED, True)
        peer.send(peer.data(stream, message))  # what is still on its way is passed over
        assert peer.call(message).status == 0


# Streams


def stream_answers(peer, stream):
    found = peer.answer(stream)
    return [MESSAGES["ModelStreamInferResponse"].FromString(message) for message in found.messages], found


def test_each_message_of_a_stream_is_answered_in_order(peer):
    stream = peer.open(STREAM)
    peer.send(*[peer.data(stream, framed(request([[float(i), 0.0]], id=str(i))), end=i == 99) for i in range(100)])
    answers, found = stream_answers(peer, stream)
    assert found.status == 0
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(100)]
    assert doubled(answers[42].infer_response.SerializeToString())[0, 0] == 84


def test_an_error_in_a_stream_is_a_message_and_the_stream_goes_on(peer):
    stream = peer.open(STREAM)
    peer.send(*[peer.data(stream, framed(item), end=i == 2) for i, item in enumerate((request(), request(model_name="other"), request()))])
    answers, found = stream_answers(peer, stream)
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert "other" in answers[1].error_message
    assert found.status == 0


def test_a_stream_of_nothing_ends_well_and_half_a_message_at_its_end_is_refused(peer):
    assert stream_answers(peer, peer.open(STREAM, end=True))[1].status == 0
    stream = peer.open(STREAM)
    peer.send(peer.data(stream, framed(request()) + b"\0\0"))
    answers, found = stream_answers(peer, stream)
    assert (len(answers), found.status) == (1, INVALID)


def test_a_stream_whose_answers_are_not_read_takes_no_more_messages(address):
    """Sixteen at most are under way; the rest waits in the window, and all are answered when the peer reads."""
    with Peer(address, settings={h2.INITIAL_WINDOW_SIZE: 0}) as peer:
        stream = peer.open(STREAM)
        peer.send(*[peer.data(stream, framed(request(id=str(i))), end=i == 199) for i in range(200)])
        peer.ping()
        peer.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**20}))
        answers, found = stream_answers(peer, stream)
        assert ([answer.infer_response.id for answer in answers], found.status) == ([str(i) for i in range(200)], 0)


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BYTES])
def test_a_large_message_is_read_and_answered_in_turns_with_others_typed_and_raw(dtype, monkeypatch):
    turned = []
    for module in (long_bodies, inference):  # one reads, one writes
        monkeypatch.setattr(module, "in_turn", lambda steps, name=module.__name__: turned.append(name) or in_turn(steps))
    count = 80_000 if dtype is DType.BYTES else 160_000  # more than half a MiB, less than a stream's window
    values = [str(number) if dtype is DType.BYTES else float(number) for number in range(count)]
    sent, (field, few) = [item.encode() for item in values] if dtype is DType.BYTES else values, FIELDS[dtype]
    small = tensors(dtype.value, **{field: [item.encode() for item in few] if dtype is DType.BYTES else few})
    large, raw = tensors(dtype.value, (count // 2, 2), **{field: sent}), tensors(dtype.value, (count // 2, 2))
    raw.raw_input_contents.append(raw_of(dtype, values))
    with server(Echo(dtype)) as running, Peer(running.server.grpc_address, settings={h2.INITIAL_WINDOW_SIZE: 2**24}) as peer:
        peer.send(h2.window_update(0, 2**24))
        streams = [peer.begin(message.SerializeToString()) for message in (large, raw, small)]
        typed, plain, quick = (parsed(peer.answer(stream)) for stream in streams)
    assert list(getattr(typed.outputs[0].contents, field)) == sent
    assert plain.raw_output_contents[0] == raw_of(dtype, values)
    assert list(quick.outputs[0].shape) == [1, 2]
    assert turned.count(long_bodies.__name__) == (2 if dtype is DType.BYTES else 1)  # raw numbers are there as soon as they have come
    assert turned.count(inference.__name__) == 1
