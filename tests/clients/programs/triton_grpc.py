"""tritonclient over gRPC, unchanged: argument 1 is host:port."""

import queue
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from checks import refused, run_all

ARRAYS = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[1.5, -65504]], np.float16),
    "FP32": np.array([[1.5, np.inf]], np.float32),
    "FP64": np.array([[1.5, 1e308]], np.float64),
    "BYTES": np.array([["héllo".encode(), b""]], dtype=object),
}


def echo_inputs():
    inputs = []
    for datatype, array in ARRAYS.items():
        tensor = triton.InferInput(datatype.lower(), list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def is_echo(result):
    for datatype, array in ARRAYS.items():
        got = result.as_numpy(f"{datatype.lower()}_out")
        assert got.dtype == array.dtype, (datatype, got.dtype)
        assert got.tolist() == array.tolist(), (datatype, got)


def table(rows=1, first=1.0):
    tensor = triton.InferInput("x", [rows, 3], "FP32")
    tensor.set_data_from_numpy(np.full((rows, 3), first, np.float32))
    return [tensor]


def check_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "3")
    assert not client.is_model_ready("echo", "4")
    assert not client.is_model_ready("nothing")


def check_metadata(client):
    server = client.get_server_metadata()
    assert server.name == "fairlead"
    assert {"parameters", "schedule_policy", "statistics", "model_repository"} <= set(server.extensions)
    model = client.get_model_metadata("double")
    assert [(item.name, item.datatype, list(item.shape)) for item in model.inputs] == [("x", "FP32", [-1, 3])]
    assert list(model.versions) == ["3"]
    assert "no model 'nothing'" in refused(lambda: client.get_model_metadata("nothing")).message()


def check_config(client):
    config = client.get_model_config("double").config
    assert config.name == "double"
    assert [(item.name, item.data_type) for item in config.input] == [("x", 11)]
    assert client.get_model_config("double", as_json=True)["config"]["input"][0]["data_type"] == "TYPE_FP32"


def check_all_datatypes(client):
    is_echo(client.infer("echo", echo_inputs()))


def check_outputs_that_are_asked_for(client):
    result = client.infer("echo", echo_inputs(), outputs=[triton.InferRequestedOutput("int8_out")])
    assert [output.name for output in result.get_response().outputs] == ["int8_out"]


def check_id_and_version(client):
    response = client.infer("double", table(), request_id="mine", model_version="3").get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "double", "3")


def check_compression(client):
    for algorithm in ("gzip", "deflate"):
        result = client.infer("double", table(100), compression_algorithm=algorithm)
        assert (result.as_numpy("y") == 2.0).all()


def check_priority_timeout_and_parameters(client):
    result = client.infer("double", table(), priority=1, timeout=5_000_000, parameters={"mine": "text", "count": 3, "is": True})
    assert (result.as_numpy("y") == 2.0).all()
    assert refused(lambda: client.infer("double", table(), sequence_id=5, sequence_start=True)).status() == "StatusCode.INVALID_ARGUMENT"


def check_statuses(client):
    assert refused(lambda: client.infer("nothing", table())).status() == "StatusCode.NOT_FOUND"
    wrong = triton.InferInput("x", [1, 3], "INT32")
    wrong.set_data_from_numpy(np.ones((1, 3), np.int32))
    assert refused(lambda: client.infer("double", [wrong])).status() == "StatusCode.INVALID_ARGUMENT"
    assert refused(lambda: client.infer("double", table(first=-2.0), client_timeout=0.2)).status() == "StatusCode.DEADLINE_EXCEEDED"


def check_asynchronous_calls_and_cancellation(client):
    answers = queue.Queue()
    for _ in range(20):
        client.async_infer("double", table(), lambda result, error: answers.put((result, error)))
    for _ in range(20):
        result, error = answers.get(timeout=20)
        assert error is None
        assert (result.as_numpy("y") == 2.0).all()
    call = client.async_infer("double", table(first=-1.0), lambda result, error: answers.put((result, error)))
    call.cancel()
    assert "CANCELLED" in str(answers.get(timeout=20)[1].status())


def check_stream(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for name in ("double", "nothing", "double"):
        client.async_stream_infer(name, table(), request_id=name)
    got = [answers.get(timeout=20) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in got] == [True, False, True]
    assert "no model 'nothing'" in got[1][1].message()
    assert got[2][0].get_response().id == "double"


def check_repository(client):
    index = client.get_model_repository_index().models
    assert {(item.name, item.version, item.state) for item in index} >= {("double", "3", "READY"), ("echo", "3", "READY")}
    client.unload_model("texts")
    assert not client.is_model_ready("texts")
    client.load_model("texts")
    assert client.is_model_ready("texts")
    assert refused(lambda: client.load_model("nothing")).status() == "StatusCode.NOT_FOUND"
    assert refused(lambda: client.load_model("texts", config="{}", files={"file:1/m.onnx": b"x"})).status() == "StatusCode.INVALID_ARGUMENT"


def check_statistics(client):
    found = client.get_inference_statistics("double").model_stats
    assert [(item.name, item.version) for item in found] == [("double", "3")]
    assert {item.name for item in client.get_inference_statistics().model_stats} >= {"double", "echo"}


def check_what_is_not_offered(client):
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        assert refused(call).status() == "StatusCode.UNIMPLEMENTED"


async def check_aio(client):
    del client
    async with triton_aio.InferenceServerClient(sys.argv[1]) as aio:
        assert await aio.is_server_ready()
        is_echo(await aio.infer("echo", echo_inputs()))

        async def requests():
            for name in ("double", "nothing", "double"):
                yield {"model_name": name, "inputs": table()}

        errors = [error is None async for _, error in aio.stream_infer(requests())]
        assert errors == [True, False, True]


def check_health_service(client):
    """grpc_health_probe asks so; its messages are two fields, written here by hand."""
    del client
    with grpc.insecure_channel(sys.argv[1]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"
        assert check(b"\x0a\x06double") == b"\x08\x01"
        assert refused(lambda: check(b"\x0a\x07nothing")).code() is grpc.StatusCode.NOT_FOUND
        watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x07nothing")
        assert next(watched) == b"\x08\x03"
        watched.cancel()


with triton.InferenceServerClient(sys.argv[1]) as connected:
    run_all(globals(), connected)
