"""MLServer's types and codecs over REST, and its command line, unchanged: argument 1 is the URL."""

import json
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
from checks import run_all
from mlserver.cli.main import root
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
    RequestInput,
)

TABLE = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def infer(url, model, request):
    answer = httpx.post(f"{url}/v2/models/{model}/infer", json=request.model_dump(mode="json"))
    assert answer.status_code == 200, answer.text
    return InferenceResponse.model_validate_json(answer.text)


def check_metadata(url):
    server = MetadataServerResponse.model_validate_json(httpx.get(f"{url}/v2").text)
    assert server.name == "fairlead"
    model = MetadataModelResponse.model_validate_json(httpx.get(f"{url}/v2/models/echo").text)
    assert {tensor.datatype for tensor in model.inputs} == {tensor.datatype for tensor in model.outputs}


def check_repository_index(url):
    index = RepositoryIndexResponse.model_validate_json(httpx.post(f"{url}/v2/repository/index", json={"ready": True}).text)
    assert {item.name for item in index.root} >= {"double", "echo"}


def check_numpy(url):
    request = InferenceRequest(id="one", inputs=[NumpyCodec.encode_input("x", TABLE)])
    answer = infer(url, "double", request)
    assert answer.id == "one"
    assert NumpyCodec.decode_output(answer.outputs[0]).tolist() == (2 * TABLE).tolist()
    request = NumpyRequestCodec.encode_request(TABLE)
    request.inputs[0].name = "x"
    assert NumpyRequestCodec.decode_response(infer(url, "double", request)).tolist() == (2 * TABLE).tolist()


def check_pandas(url):
    frame = pd.DataFrame({"weight": [3.0, 6.0], "height": [2, 5], "age": [1.5, 4.0]})
    answer = infer(url, "double", PandasCodec.encode_request(frame, use_bytes=False))
    assert NumpyCodec.decode_output(answer.outputs[0]).tolist() == [[3, 4, 6], [8, 10, 12]]


def check_strings(url):
    tensor = StringCodec.encode_input("x", ["a", "☃", "", "d"], use_bytes=False)
    request = InferenceRequest(inputs=[RequestInput(name="x", shape=[1, 4], datatype="BYTES", data=tensor.data)])
    answer = infer(url, "texts", request)
    assert StringCodec.decode_output(answer.outputs[0]) == ["a", "☃", "", "d"]


def check_errors(url):
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("z", TABLE)])
    answer = httpx.post(f"{url}/v2/models/double/infer", json=request.model_dump(mode="json"))
    assert answer.status_code == 400
    assert "no input 'z'" in answer.json()["error"]


def check_command_line(url):
    rows = [InferenceRequest(id=f"r{place}", inputs=[NumpyCodec.encode_input("x", TABLE * place)]) for place in range(1, 9)]
    Path("in.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    for more in ([], ["--binary-data"], ["--batch-size", "4"]):
        arguments = ["infer", "-u", url.removeprefix("http://"), "-m", "double", "-i", "in.jsonl", "-o", "out.jsonl", "-w", "4"]
        root([*arguments, *more], standalone_mode=False)
        answers = {one["id"]: one["outputs"][0]["data"] for one in map(json.loads, Path("out.jsonl").read_text().splitlines())}
        expected = {f"r{place}": (2 * place * TABLE).ravel().tolist() for place in range(1, 9)}
        assert answers == expected, (more, answers)


if __name__ == "__main__":
    run_all(globals(), sys.argv[1])
