"""tritonclient over HTTP, unchanged: argument 1 is host:port."""

import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from checks import refused, run_all

NUMBERS = {
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
    "FP32": np.array([[1.5, 3e38]], np.float32),
    "FP64": np.array([[1.5, 1e308]], np.float64),
    "BYTES": np.array([["héllo", ""]], dtype=object),
}


def echo_inputs(*, binary=True):
    inputs = []
    for datatype, array in NUMBERS.items():
        tensor = triton.InferInput(datatype.lower(), list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary or datatype == "FP16")
        inputs.append(tensor)
    return inputs


def check_echo(result):
    for datatype, array in NUMBERS.items():
        got = result.as_numpy(f"{datatype.lower()}_out")
        if datatype == "BYTES":
            got = np.array([[item.decode() if isinstance(item, bytes) else item for item in row] for row in got], dtype=object)
        else:
            assert got.dtype == array.dtype, (datatype, got.dtype)
        assert got.tolist() == array.tolist(), (datatype, got)


def table(rows=1, first=1.0, *, binary=True):
    tensor = triton.InferInput("x", [rows, 3], "FP32")
    tensor.set_data_from_numpy(np.full((rows, 3), first, np.float32), binary_data=binary)
    return [tensor]


def check_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "3")
    assert client.is_model_ready("echo", "v3")
    assert not client.is_model_ready("echo", "4")
    assert not client.is_model_ready("nothing")


def check_metadata(client):
    server = client.get_server_metadata()
    assert server["name"] == "fairlead"
    assert {"binary_tensor_data", "parameters", "schedule_policy", "statistics"} <= set(server["extensions"])
    model = client.get_model_metadata("double")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert client.get_model_metadata("double", "3") == model
    refused(lambda: client.get_model_metadata("nothing"), "no model 'nothing'")
    refused(lambda: client.get_model_metadata("double", "9"), "9")


def check_binary_by_default(client):
    check_echo(client.infer("echo", echo_inputs()))


def check_json_both_ways(client):
    outputs = [triton.InferRequestedOutput(f"{name.lower()}_out", binary_data=False) for name in NUMBERS]
    inputs = echo_inputs(binary=False)
    check_echo(client.infer("echo", inputs, outputs=outputs))


def check_mixed(client):
    outputs = [triton.InferRequestedOutput(f"{name.lower()}_out", binary_data=place % 2 == 0) for place, name in enumerate(NUMBERS)]
    inputs = echo_inputs()
    inputs[3].set_data_from_numpy(NUMBERS["UINT32"], binary_data=False)
    result = client.infer("echo", inputs, outputs=outputs)
    check_echo(result)
    assert len(result.get_response()["outputs"]) == len(NUMBERS)


def check_a_subset_of_outputs(client):
    result = client.infer("echo", echo_inputs(), outputs=[triton.InferRequestedOutput("int8_out")])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["int8_out"]
    refused(lambda: client.infer("echo", echo_inputs(), outputs=[triton.InferRequestedOutput("nope")]), "no output 'nope'")


def check_single_types(client):
    half = np.array([[1, 2, 3, -0.5]], np.float16)
    tensor = triton.InferInput("x", [1, 4], "FP16")
    tensor.set_data_from_numpy(half)
    assert client.infer("half", [tensor]).as_numpy("y").tobytes() == half.tobytes()
    texts = np.array([["a", "☃", "", "long" * 1000]], dtype=object)
    tensor = triton.InferInput("x", [1, 4], "BYTES")
    tensor.set_data_from_numpy(texts)
    assert [item.decode() for item in client.infer("texts", [tensor]).as_numpy("y")[0]] == texts[0].tolist()
    tensor = triton.InferInput("x", [1, 3], "BF16")
    tensor.set_data_from_numpy(np.array([[1, 2, 4]], ml_dtypes.bfloat16))
    assert client.infer("double", [tensor]).as_numpy("y").tolist() == [[2, 4, 8]]


def check_compression_both_ways(client):
    for coding in ("gzip", "deflate"):
        result = client.infer("double", table(500), request_compression_algorithm=coding, response_compression_algorithm=coding)
        assert result.as_numpy("y").tolist() == [[2.0] * 3] * 500
        result = client.infer(
            "double", table(500, binary=False), request_compression_algorithm=coding, response_compression_algorithm=coding
        )
        assert result.as_numpy("y").tolist() == [[2.0] * 3] * 500


def check_ids_and_versions(client):
    response = client.infer("double", table(), request_id="my id", model_version="3").get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("my id", "double", "3")
    assert "id" not in client.infer("double", table()).get_response()


def check_async(client):
    waiting = [client.async_infer("double", table(1, number)) for number in range(20)]
    assert [one.get_result().as_numpy("y")[0, 0] for one in waiting] == [2.0 * number for number in range(20)]


def check_priority_and_timeout(client):
    assert client.infer("double", table(), priority=1, timeout=5_000_000).as_numpy("y")[0, 0] == 2
    error = refused(lambda: client.infer("double", table(), timeout=1))
    assert error.status() in {"503", "504"}, error  # 503 where it is known beforehand that the time will not do


def check_refusals_have_a_status_and_a_text(client):
    wrong = triton.InferInput("x", [1, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
    for call in (
        lambda: client.infer("double", []),
        lambda: client.infer("double", [wrong, wrong]),
        lambda: client.infer("echo", [wrong]),
        lambda: client.infer("double", [wrong], sequence_id=5, sequence_start=True),
    ):
        error = refused(call)
        assert isinstance(error, triton.InferenceServerException)
        assert error.status() == "400", error
        assert error.message(), error


def check_custom_parameters(client):
    assert client.infer("double", table(), parameters={"mine": 1, "flag": True, "text": "a"}).as_numpy("y")[0, 0] == 2


def check_statistics(client):
    assert [entry["name"] for entry in client.get_inference_statistics("double")["model_stats"]] == ["double"]
    assert {entry["name"] for entry in client.get_inference_statistics()["model_stats"]} >= {"double", "echo"}
    assert client.get_inference_statistics("double", "3")["model_stats"][0]["version"] == "3"


def check_repository(client):
    index = client.get_model_repository_index()
    assert {"name": "double", "version": "3", "state": "READY", "reason": ""} in index
    client.unload_model("texts")
    assert not client.is_model_ready("texts")
    client.load_model("texts")
    assert client.is_model_ready("texts")
    refused(lambda: client.load_model("nothing"), "nothing")
    refused(lambda: client.load_model("texts", config="{}", files={"file:1/model.onnx": b"evil"}), "file:1/model.onnx")


def check_configuration(client):
    assert client.get_model_config("double")["name"] == "double"
    assert client.get_model_config("double", "3")["name"] == "double"


async def check_aio(client):
    del client
    async with triton_aio.InferenceServerClient(sys.argv[1]) as aio:
        assert await aio.is_server_ready()
        check_echo(await aio.infer("echo", echo_inputs()))
        result = await aio.infer("double", table(400), request_compression_algorithm="gzip", response_compression_algorithm="gzip")
        assert result.as_numpy("y").shape == (400, 3)
        assert {"name": "double", "version": "3", "state": "READY", "reason": ""} in await aio.get_model_repository_index()


if __name__ == "__main__":
    with triton.InferenceServerClient(sys.argv[1], concurrency=8) as server:
        run_all({name: value for name, value in globals().items() if name != "check_echo"}, server)
