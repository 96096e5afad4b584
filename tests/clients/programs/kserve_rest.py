"""KServe's REST client, unchanged: argument 1 is the URL."""

import sys

import numpy as np
from checks import run_all
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

TABLE = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def v2():
    return InferenceRESTClient(RESTConfig(protocol="v2"))


def v1():
    return InferenceRESTClient(RESTConfig(protocol="v1"))


def request(array, name="x", datatype="FP32", *, binary=False, **more):
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest("double", [tensor], **more)


async def raised(awaitable):
    try:
        await awaitable
    except Exception as error:  # noqa: BLE001 - looked at by the caller
        return str(error)
    return ""


async def check_health(url):
    async with v2() as client:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, "double") is True
        assert await client.is_model_ready(url, "nothing") is False


async def check_health_v1(url):
    async with v1() as client:
        assert await client.is_server_live(url) is True
        assert await client.is_model_ready(url, "double") is True
        assert "404" in await raised(client.is_model_ready(url, "nothing"))


async def check_json(url):
    async with v2() as client:
        headers = {}
        answer = await client.infer(url, request(TABLE, request_id="one"), model_name="double", response_headers=headers)
        assert (answer.id, answer.model_name) == ("one", "double")  # the client drops model_version
        assert answer.outputs[0].as_numpy().tolist() == (2 * TABLE).tolist()
        assert headers["content-type"] == "application/json"


async def check_binary(url):
    async with v2() as client:
        body = request(TABLE, binary=True, request_outputs=[RequestedOutput("y", parameters={"binary_data": True})])
        headers = {}
        answer = await client.infer(url, body, model_name="double", response_headers=headers)
        assert answer.outputs[0].as_numpy().tolist() == (2 * TABLE).tolist()
        assert int(headers["inference-header-content-length"]) > 0
        answer = await client.infer(url, request(TABLE, binary=True), model_name="double")
        assert answer.outputs[0].as_numpy().tolist() == (2 * TABLE).tolist()


async def check_fp16_and_texts(url):
    async with v2() as client:
        half = np.array([[1, 2, 3, -0.5]], np.float16)
        body = request(half, datatype="FP16", binary=True, parameters={"binary_data_output": True})
        answer = await client.infer(url, body, model_name="half")
        assert answer.outputs[0].as_numpy().tolist() == half.tolist()
        texts = np.array([["a", "☃", "", "d"]], dtype=object)
        for binary in (False, True):
            body = request(texts, datatype="BYTES", binary=binary)
            answer = await client.infer(url, body, model_name="texts")
            assert [item.decode() if isinstance(item, bytes) else item for item in answer.outputs[0].as_numpy()[0]] == texts[0].tolist()


async def check_columns(url):
    async with v2() as client:
        inputs = []
        for name, values in (("weight", [3.0, 6.0]), ("age", [1.0, 4.0]), ("height", [2.0, 5.0])):
            tensor = InferInput(name, [2], "FP64")
            tensor.set_data_from_numpy(np.array(values), binary_data=False)
            inputs.append(tensor)
        answer = await client.infer(url, InferRequest("double", inputs), model_name="double")
        assert answer.outputs[0].as_numpy().tolist() == (2 * TABLE).tolist()


async def check_errors(url):
    async with v2() as client:
        assert "no input 'z'" in await raised(client.infer(url, request(TABLE, name="z"), model_name="double"))
        assert "no model 'nothing'" in await raised(client.infer(url, request(TABLE), model_name="nothing"))


async def check_v1(url):
    async with v1() as client:
        answer = await client.infer(url, {"instances": TABLE.tolist()}, model_name="double")
        assert answer == {"predictions": (2 * TABLE).tolist()}
        records = [{"age": 1, "height": 2, "weight": 3}]
        assert await client.infer(url, {"instances": records}, model_name="double") == {"predictions": [[2, 4, 6]]}


if __name__ == "__main__":
    run_all(globals(), sys.argv[1])
