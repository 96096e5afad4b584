"""The protocol's gRPC messages, in a descriptor pool of their own, written from the contract's field numbers.

Takes arrays; gives messages, and arrays again. Raises DataError for an answer that cannot be read. The pool is private since tritonclient,
kserve and mlserver each register the package `inference` in the common one, where it can stand once only. Source of the numbers:
kserve/open-inference-protocol, open_inference_grpc.proto, and triton-inference-server/common, grpc_service.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import (  # type: ignore[import-untyped] # no stubs are published with it
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
)

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors
from fairlead.errors import DataError
from fairlead.probe.tensors import from_raw, raw_of

PACKAGE = "inference"
SERVICE = f"/{PACKAGE}.GRPCInferenceService"
# One line each: the message, then its fields as name=number:type. `*` repeated, `%` map from string, `|` in the oneof of its message.
_MESSAGES = """
ServerLiveRequest
ServerLiveResponse live=1:bool
ServerReadyRequest
ServerReadyResponse ready=1:bool
ModelReadyRequest name=1:string version=2:string
ModelReadyResponse ready=1:bool
ServerMetadataRequest
ServerMetadataResponse name=1:string version=2:string extensions=3:*string
ModelMetadataRequest name=1:string version=2:string
TensorMetadata name=1:string datatype=2:string shape=3:*int64
ModelMetadataResponse name=1:string versions=2:*string platform=3:string inputs=4:*TensorMetadata outputs=5:*TensorMetadata
InferParameter bool_param=1:|bool int64_param=2:|int64 string_param=3:|string double_param=4:|double uint64_param=5:|uint64
InferTensorContents bool_contents=1:*bool int_contents=2:*int32 int64_contents=3:*int64 uint_contents=4:*uint32 uint64_contents=5:*uint64 \
fp32_contents=6:*float fp64_contents=7:*double bytes_contents=8:*bytes
InferTensor name=1:string datatype=2:string shape=3:*int64 parameters=4:%InferParameter contents=5:InferTensorContents
InferRequestedOutputTensor name=1:string parameters=2:%InferParameter
ModelInferRequest model_name=1:string model_version=2:string id=3:string parameters=4:%InferParameter inputs=5:*InferTensor \
outputs=6:*InferRequestedOutputTensor raw_input_contents=7:*bytes
ModelInferResponse model_name=1:string model_version=2:string id=3:string parameters=4:%InferParameter outputs=5:*InferTensor \
raw_output_contents=6:*bytes
ModelStreamInferResponse error_message=1:string infer_response=2:ModelInferResponse
StatisticDuration count=1:uint64 ns=2:uint64
InferStatistics success=1:StatisticDuration fail=2:StatisticDuration
ModelStatistics name=1:string version=2:string last_inference=3:uint64 inference_count=4:uint64 execution_count=5:uint64 \
inference_stats=6:InferStatistics
ModelStatisticsRequest name=1:string version=2:string
ModelStatisticsResponse model_stats=1:*ModelStatistics
ModelConfigRequest name=1:string version=2:string
ModelConfig name=1:string platform=2:string max_batch_size=4:int32
ModelConfigResponse config=1:ModelConfig
ModelIndex name=1:string version=2:string state=3:string reason=4:string
RepositoryIndexRequest repository_name=1:string ready=2:bool
RepositoryIndexResponse models=1:*ModelIndex
RepositoryModelLoadRequest repository_name=1:string model_name=2:string
RepositoryModelLoadResponse
RepositoryModelUnloadRequest repository_name=1:string model_name=2:string
RepositoryModelUnloadResponse
"""
_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "string", "bytes", "int32", "int64", "uint32", "uint64", "float", "double")
}
_TYPED = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}


def _build() -> dict[str, type[message.Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="fairlead_probe.proto", package=PACKAGE, syntax="proto3")
    names = []
    for line in _MESSAGES.strip().splitlines():
        name, *fields = line.split()
        names.append(name)
        kind = file.message_type.add(name=name)
        for text in fields:
            _add_field(kind, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in names}


def _add_field(kind: descriptor_pb2.DescriptorProto, text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, type_name = rest.partition(":")
    mark, bare = type_name[0], type_name.lstrip("*%|")
    field = kind.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if mark in "*%" else field.LABEL_OPTIONAL
    if mark == "%":
        entry = kind.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key=1:string")
        _add_field(entry, f"value=2:{bare}")
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind.name}.{entry.name}"
    elif bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
    if mark == "|":
        if not kind.oneof_decl:
            kind.oneof_decl.add(name="choice")
        field.oneof_index = 0


_CLASSES = _build()


def make(name: str, /, **fields: Any) -> Any:
    """Return a message; its fields are protobuf's, so its type cannot be known here."""
    return _CLASSES[name](**fields)


def read(name: str, data: bytes) -> Any:
    """Return the message in `data`; raises DataError where it is none."""
    try:
        return _CLASSES[name].FromString(data)
    except message.DecodeError as error:
        raise DataError(f"This is not a {name}: {error}.") from None


def infer_request(model: str, inputs: Tensors, *, version: str = "", is_raw: bool = True, request_id: str = "") -> Any:
    """Return a ModelInferRequest with all inputs raw, or all typed (which FP16 cannot be)."""
    request = make("ModelInferRequest", model_name=model, model_version=version, id=request_id)
    for name, array in inputs.items():
        dtype = DType.of(array.dtype)
        tensor = request.inputs.add(name=name, datatype=dtype.value, shape=array.shape)
        if is_raw:
            request.raw_input_contents.append(raw_of(array))
        else:
            values = array.reshape(-1).tolist()
            encoded = [value.encode() for value in values] if dtype is DType.BYTES else values
            getattr(tensor.contents, _TYPED[dtype]).extend(encoded)
    return request


def read_infer_response(data: bytes) -> dict[str, Array]:
    """Return the outputs in a ModelInferResponse."""
    return outputs_of(read("ModelInferResponse", data))


def outputs_of(response: Any) -> dict[str, Array]:
    """Return the outputs of a ModelInferResponse, raw or typed."""
    raws = list(response.raw_output_contents)
    if raws and len(raws) != len(response.outputs):
        raise DataError(f"The answer has {len(response.outputs)} outputs and {len(raws)} raw contents.")
    found: dict[str, Array] = {}
    for index, tensor in enumerate(response.outputs):
        shape = [int(size) for size in tensor.shape]
        found[tensor.name] = from_raw(tensor.datatype, shape, raws[index]) if raws else _from_typed(tensor, shape)
    return found


def _from_typed(tensor: Any, shape: list[int]) -> Array:
    try:
        dtype = DType(tensor.datatype)
        values = list(getattr(tensor.contents, _TYPED[dtype]))
        if dtype is not DType.BYTES:
            return np.asarray(values, dtype.numpy).reshape(shape)
        made = np.empty(len(values), object)
        made[:] = [value.decode("utf-8", "replace") for value in values]
        return made.reshape(shape)
    except (ValueError, KeyError, OverflowError) as error:
        raise DataError(f"The output '{tensor.name}' does not fit its shape and datatype: {error}.") from None


def set_parameters(target: Any, values: Mapping[str, tuple[str, object]]) -> None:
    """Set parameters of a request: name -> (which kind, value)."""
    for name, (kind, value) in values.items():
        setattr(target.parameters[name], kind, value)
