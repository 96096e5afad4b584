"""The protocol's messages by field number, as text, and the message classes made of it.

One line is one message: its name, then `field:type=number`. `*` is repeated, `{type}` a map from strings, `?` a member of the message's
one oneof. Gives classes in a descriptor pool of their own: tritonclient, kserve and mlserver each register the package `inference` in
protobuf's default pool, which takes it only once. docs/reference/open_inference.proto says the same for people; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

INFERENCE = """
ServerLiveRequest
ServerLiveResponse live:bool=1
ServerReadyRequest
ServerReadyResponse ready:bool=1
ModelReadyRequest name:string=1 version:string=2
ModelReadyResponse ready:bool=1
ServerMetadataRequest
ServerMetadataResponse name:string=1 version:string=2 extensions:*string=3
ModelMetadataRequest name:string=1 version:string=2
ModelMetadataResponse name:string=1 versions:*string=2 platform:string=3 inputs:*TensorMetadata=4 outputs:*TensorMetadata=5\
 properties:{string}=6
ModelMetadataResponse.TensorMetadata name:string=1 datatype:string=2 shape:*int64=3
InferParameter ?bool_param:bool=1 ?int64_param:int64=2 ?string_param:string=3 ?double_param:double=4 ?uint64_param:uint64=5
InferTensorContents bool_contents:*bool=1 int_contents:*int32=2 int64_contents:*int64=3 uint_contents:*uint32=4 uint64_contents:*uint64=5\
 fp32_contents:*float=6 fp64_contents:*double=7 bytes_contents:*bytes=8
ModelInferRequest model_name:string=1 model_version:string=2 id:string=3 parameters:{InferParameter}=4 inputs:*InferInputTensor=5\
 outputs:*InferRequestedOutputTensor=6 raw_input_contents:*bytes=7
ModelInferRequest.InferInputTensor name:string=1 datatype:string=2 shape:*int64=3 parameters:{InferParameter}=4\
 contents:InferTensorContents=5
ModelInferRequest.InferRequestedOutputTensor name:string=1 parameters:{InferParameter}=2
ModelInferResponse model_name:string=1 model_version:string=2 id:string=3 parameters:{InferParameter}=4 outputs:*InferOutputTensor=5\
 raw_output_contents:*bytes=6
ModelInferResponse.InferOutputTensor name:string=1 datatype:string=2 shape:*int64=3 parameters:{InferParameter}=4\
 contents:InferTensorContents=5
ModelStreamInferResponse error_message:string=1 infer_response:ModelInferResponse=2
ModelConfigRequest name:string=1 version:string=2
ModelConfigResponse config:ModelConfig=1
ModelStatisticsRequest name:string=1 version:string=2
StatisticDuration count:uint64=1 ns:uint64=2
InferStatistics success:StatisticDuration=1 fail:StatisticDuration=2 queue:StatisticDuration=3 compute_input:StatisticDuration=4\
 compute_infer:StatisticDuration=5 compute_output:StatisticDuration=6 cache_hit:StatisticDuration=7 cache_miss:StatisticDuration=8
InferResponseStatistics compute_infer:StatisticDuration=1 compute_output:StatisticDuration=2 success:StatisticDuration=3\
 fail:StatisticDuration=4 empty_response:StatisticDuration=5 cancel:StatisticDuration=6
InferBatchStatistics batch_size:uint64=1 compute_input:StatisticDuration=2 compute_infer:StatisticDuration=3\
 compute_output:StatisticDuration=4
MemoryUsage type:string=1 id:int64=2 byte_size:uint64=3
ModelStatistics name:string=1 version:string=2 last_inference:uint64=3 inference_count:uint64=4 execution_count:uint64=5\
 inference_stats:InferStatistics=6 batch_stats:*InferBatchStatistics=7 memory_usage:*MemoryUsage=8\
 response_stats:{InferResponseStatistics}=9
ModelStatisticsResponse model_stats:*ModelStatistics=1
ModelRepositoryParameter ?bool_param:bool=1 ?int64_param:int64=2 ?string_param:string=3 ?bytes_param:bytes=4
RepositoryIndexRequest repository_name:string=1 ready:bool=2
RepositoryIndexResponse models:*ModelIndex=1
RepositoryIndexResponse.ModelIndex name:string=1 version:string=2 state:string=3 reason:string=4
RepositoryModelLoadRequest repository_name:string=1 model_name:string=2 parameters:{ModelRepositoryParameter}=3
RepositoryModelLoadResponse
RepositoryModelUnloadRequest repository_name:string=1 model_name:string=2 parameters:{ModelRepositoryParameter}=3
RepositoryModelUnloadResponse
ModelConfig name:string=1 platform:string=2 version_policy:ModelVersionPolicy=3 max_batch_size:int32=4 input:*ModelInput=5\
 output:*ModelOutput=6 instance_group:*ModelInstanceGroup=7 default_model_filename:string=8 dynamic_batching:ModelDynamicBatching=11\
 parameters:{ModelParameter}=14 backend:string=17 model_transaction_policy:ModelTransactionPolicy=19 response_cache:ModelResponseCache=24
ModelVersionPolicy ?latest:Latest=1 ?all:All=2 ?specific:Specific=3
ModelVersionPolicy.Latest num_versions:uint32=1
ModelVersionPolicy.All
ModelVersionPolicy.Specific versions:*int64=1
ModelInput name:string=1 data_type:DataType=2 dims:*int64=4 optional:bool=8
ModelOutput name:string=1 data_type:DataType=2 dims:*int64=3 label_filename:string=4
ModelInstanceGroup name:string=1 count:int32=2 kind:Kind=4
ModelDynamicBatching preferred_batch_size:*int32=1 max_queue_delay_microseconds:uint64=2 preserve_ordering:bool=3\
 priority_levels:uint64=4 default_priority_level:uint64=5 default_queue_policy:ModelQueuePolicy=6
ModelQueuePolicy default_timeout_microseconds:uint64=2 allow_timeout_override:bool=3 max_queue_size:uint32=4
ModelParameter string_value:string=1
ModelTransactionPolicy decoupled:bool=1
ModelResponseCache enable:bool=1
"""
HEALTH = """
HealthCheckRequest service:string=1
HealthCheckResponse status:ServingStatus=1
"""
# Enumerations by name; a member's number is its place.
ENUMS = {
    "inference": {
        "DataType": "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 TYPE_INT64"
        " TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16",
        "ModelInstanceGroup.Kind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
    },
    "grpc.health.v1": {"HealthCheckResponse.ServingStatus": "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN"},
}
_Field = descriptor_pb2.FieldDescriptorProto
_NAMES = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
_SCALARS = {name: getattr(_Field, f"TYPE_{name.upper()}") for name in _NAMES}
_FIELD = re.compile(r"(\??)(\w+):(\*?)(\{?)(\w+)\}?=(\d+)")


def build_classes(package: str, table: str) -> dict[str, type[Message]]:
    """Return the message class of every line of `table` by name; nested ones by their dotted name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    messages: dict[str, descriptor_pb2.DescriptorProto] = {}
    lines = [line.split() for line in table.strip().splitlines()]
    for name, *_ in lines:
        outer, _, inner = name.rpartition(".")
        messages[name] = (messages[outer].nested_type if outer else file.message_type).add(name=inner)
    enums = ENUMS[package]
    for name, members in enums.items():
        outer, _, inner = name.rpartition(".")
        enum = (messages[outer].enum_type if outer else file.enum_type).add(name=inner)
        for number, member in enumerate(members.split()):
            enum.value.add(name=member, number=number)
    for name, *fields in lines:
        for field in fields:
            _add_field(messages[name], f".{package}.{name}", field, _Scope(f".{package}", name, frozenset(messages), frozenset(enums)))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


class _Scope:
    """Finds what a type's name means inside of a message: one nested in it, or one of the package."""

    def __init__(self, package: str, message: str, messages: frozenset[str], enums: frozenset[str]) -> None:
        self._package, self._message, self._messages, self._enums = package, message, messages, enums

    def apply(self, field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
        """Give `field` its type."""
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
            return
        name = next(name for name in (f"{self._message}.{kind}", kind) if name in self._messages | self._enums)
        field.type = _Field.TYPE_ENUM if name in self._enums else _Field.TYPE_MESSAGE
        field.type_name = f"{self._package}.{name}"


def _add_field(message: descriptor_pb2.DescriptorProto, path: str, text: str, scope: _Scope) -> None:
    choice, name, many, is_map, kind, number = parse_field(text)
    field = message.field.add(name=name, number=number, label=_Field.LABEL_REPEATED if many or is_map else _Field.LABEL_OPTIONAL)
    if choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if not is_map:
        scope.apply(field, kind)
        return
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    scope.apply(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind)
    field.type, field.type_name = _Field.TYPE_MESSAGE, f"{path}.{entry.name}"


def parse_field(text: str) -> tuple[bool, str, bool, bool, str, int]:
    """Return what a field of the table says: is in the oneof, name, is repeated, is a map, type, number."""
    match = _FIELD.fullmatch(text)
    if match is None:
        raise ValueError(text)
    choice, name, many, braces, kind, number = match.groups()
    return bool(choice), name, bool(many), bool(braces), kind, int(number)


def table_lines(table: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each message's name and fields."""
    for line in table.strip().splitlines():
        name, *fields = line.split()
        yield name, fields


MESSAGES = build_classes("inference", INFERENCE)
HEALTH_MESSAGES = build_classes("grpc.health.v1", HEALTH)
