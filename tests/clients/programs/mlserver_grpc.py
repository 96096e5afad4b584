"""MLServer's gRPC stubs and codecs, unchanged: argument 1 is host:port."""

import sys

import grpc
import numpy as np
from checks import run_all
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import model_repository_pb2 as repository_pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest

ARRAY = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def check_health(stub):
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="double", version="3")).ready


def check_metadata(stub):
    metadata = converters.ModelMetadataResponseConverter.to_types(stub.ModelMetadata(pb.ModelMetadataRequest(name="double")))
    assert metadata.name == "double"
    assert metadata.inputs[0].name == "x"
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "fairlead"


def check_infer_raw_and_typed(stub):
    for use_raw in (True, False):
        request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", ARRAY)])
        message = converters.ModelInferRequestConverter.from_types(request, model_name="double", model_version=None, use_raw=use_raw)
        answer = stub.ModelInfer(message)
        assert bool(answer.raw_output_contents) is use_raw
        response = converters.ModelInferResponseConverter.to_types(answer)
        assert NumpyCodec.decode_output(response.outputs[0]).tolist() == (ARRAY * 2).tolist()


def check_request_codec(stub):
    request = NumpyRequestCodec.encode_request(ARRAY)
    request.inputs[0].name = "x"
    message = converters.ModelInferRequestConverter.from_types(request, model_name="double", model_version="3")
    response = converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message))
    assert NumpyRequestCodec.decode_response(response).tolist() == (ARRAY * 2).tolist()


def check_repository(stub):
    index = stub.RepositoryIndex(repository_pb.RepositoryIndexRequest())
    assert {item.name for item in index.models} >= {"double", "echo"}
    stub.RepositoryModelUnload(repository_pb.RepositoryModelUnloadRequest(model_name="texts"))
    stub.RepositoryModelLoad(repository_pb.RepositoryModelLoadRequest(model_name="texts"))


with grpc.insecure_channel(sys.argv[1]) as connected:
    run_all(globals(), GRPCInferenceServiceStub(connected))
