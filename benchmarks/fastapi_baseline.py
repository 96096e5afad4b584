"""What a good engineer writes by hand: FastAPI and ONNX Runtime, one model, no checks beyond pydantic's. The baseline of serving.py.

MODEL=model.onnx uvicorn --no-access-log --log-level warning fastapi_baseline:app --port 9100
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]


class Tensor(BaseModel):
    """One input."""

    name: str
    shape: list[int]
    datatype: str
    data: list


class Request(BaseModel):
    """All inputs."""

    inputs: list[Tensor]


app = FastAPI()


@app.post("/v2/models/m/infer")
async def infer(request: Request):
    feeds = {tensor.name: np.asarray(tensor.data, np.float32).reshape(tensor.shape) for tensor in request.inputs}
    outputs = session.run(None, feeds)
    return {
        "model_name": "m",
        "outputs": [
            {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
            for name, array in zip(names, outputs, strict=True)
        ],
    }
