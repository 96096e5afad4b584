"""The kserve client over gRPC, unchanged: argument 1 is host:port."""

import asyncio
import sys

import grpc
import numpy as np
from checks import run_all
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelMetadataRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    ServerMetadataRequest,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub


def request(array, *, is_raw):
    tensor = InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=is_raw)
    return InferRequest(model_name="double", infer_inputs=[tensor], request_id="mine")


async def check_health():
    async with InferenceGRPCClient(sys.argv[1]) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("double")
        assert not await client.is_model_ready("nothing")


async def check_infer_raw_and_typed():
    array = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    async with InferenceGRPCClient(sys.argv[1]) as client:
        for is_raw in (True, False):
            response = await client.infer(request(array, is_raw=is_raw))
            assert response.id == "mine"
            assert response.outputs[0].as_numpy().tolist() == (array * 2).tolist()


async def check_a_mistake_has_its_status():
    async with InferenceGRPCClient(sys.argv[1]) as client:
        caught = None
        try:
            await client.infer(request(np.zeros((1, 5), np.float32), is_raw=True))
        except grpc.RpcError as error:
            caught = error.code()
        assert caught is grpc.StatusCode.INVALID_ARGUMENT


def check_load_and_unload_in_kserve_s_form():
    """The model's name is field 1 here, where Triton has the repository's."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="texts"))
        assert (answer.model_name, answer.isUnloaded) == ("texts", True)
        answer = stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="texts"))
        assert (answer.model_name, answer.isLoaded) == ("texts", True)


def check_metadata():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerMetadata(ServerMetadataRequest()).name == "fairlead"
        assert stub.ModelMetadata(ModelMetadataRequest(name="double")).inputs[0].name == "x"


asyncio.set_event_loop(asyncio.new_event_loop())
run_all(globals())
