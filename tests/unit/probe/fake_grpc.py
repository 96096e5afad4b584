"""The gRPC side of the small server, by grpcio, with the messages of the probe; `wrong` names the one thing that it does wrong."""

from __future__ import annotations

import threading
from concurrent import futures

import grpc
import numpy as np
from fake_v2 import EXTENSIONS, MODELS, VERSIONS, compute

from fairlead.errors import DataError
from fairlead.probe.grpc_messages import make, outputs_of, read

OK, BAD, UNKNOWN = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


class StatusError(Exception):
    def __init__(self, code):
        super().__init__(code.name)
        self.code = code


class Service:
    """Each method takes a message and gives one, or raises StatusError."""

    def __init__(self, wrong=""):
        self.wrong, self.loaded, self.calls = wrong, set(MODELS), 0

    def answer(self, name, data):
        if not hasattr(self, name):
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED)
        return getattr(self, name)(read(f"{'ModelInfer' if name == 'ModelStreamInfer' else name}Request", data))

    def ServerLive(self, _):
        return make("ServerLiveResponse", live=self.wrong != "not live")

    def ServerReady(self, _):
        return make("ServerReadyResponse", ready=True)

    def ModelReady(self, request):
        return make("ModelReadyResponse", ready=request.name in self.loaded or self.wrong == "ready after unload")

    def ServerMetadata(self, _):
        return make("ServerMetadataResponse", name="fake", version="1", extensions=EXTENSIONS[: 1 if self.wrong == "extensions" else None])

    def ModelMetadata(self, request):
        self.known(request.name, request.version)
        response = make("ModelMetadataResponse", name=request.name, versions=VERSIONS, platform="fake")
        for target, specs in ((response.inputs, MODELS[request.name]["inputs"]), (response.outputs, MODELS[request.name]["outputs"])):
            for spec in specs:
                target.add(name=spec["name"], datatype="FP64" if self.wrong == "metadata" else spec["datatype"], shape=spec["shape"])
        return response

    def known(self, name, version=""):
        if (name not in MODELS or (version and version not in VERSIONS)) and self.wrong != "everybody":
            raise StatusError(UNKNOWN)

    def ModelInfer(self, request):
        self.calls += 1
        self.known(request.model_name, request.model_version)
        if request.model_name not in self.loaded and self.wrong != "ready after unload":
            raise StatusError(grpc.StatusCode.UNAVAILABLE)
        if self.wrong == "five kinds" and len(request.parameters) == 5:
            raise StatusError(BAD)
        if self.wrong == "priority" and "priority" in request.parameters:
            raise StatusError(BAD)
        if self.wrong == "breaks" and self.calls > 1:
            raise StatusError(grpc.StatusCode.INTERNAL)
        try:
            outputs = compute("m", self.inputs(request))
        except StatusError:
            if self.wrong != "accepts all":
                raise
            outputs = {}
        is_raw = bool(request.raw_input_contents)
        response = make("ModelInferResponse", model_name=request.model_name, id="" if self.wrong == "id" else request.id)
        for name, array in outputs.items():
            dtype = "BYTES" if array.dtype == object else "FP32"
            tensor = response.outputs.add(name=name, datatype=dtype, shape=array.shape)
            values = array + 1 if dtype == "FP32" and self.wrong == ("raw" if is_raw else "typed") else array
            if dtype == "BYTES":
                texts = [text.encode() for text in values.ravel()]
                raw = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
                response.raw_output_contents.append(raw) if is_raw else tensor.contents.bytes_contents.extend(texts)
            elif is_raw:
                response.raw_output_contents.append(values.tobytes())
            else:
                tensor.contents.fp32_contents.extend(values.ravel().tolist())
        return response

    def inputs(self, request):
        """Read as the answer of a server would be read: the forms are the same."""
        turned = make("ModelInferResponse", raw_output_contents=list(request.raw_input_contents))
        for tensor in request.inputs:
            turned.outputs.add().CopyFrom(tensor)
        both = request.raw_input_contents and any(tensor.contents.ListFields() for tensor in request.inputs)
        specs = {spec["name"]: spec for spec in MODELS["m"]["inputs"]}
        try:
            given = outputs_of(turned)
        except DataError:
            raise StatusError(BAD) from None
        if both or set(given) != set(specs) or any(output.name not in {"y", "t"} for output in request.outputs):
            raise StatusError(BAD)
        if any(min(tensor.shape) < 1 for tensor in request.inputs):
            raise StatusError(BAD)
        return {name: np.asarray(array) for name, array in given.items()}

    def RepositoryIndex(self, _):
        response = make("RepositoryIndexResponse")
        for name in () if self.wrong == "index" else MODELS:
            response.models.add(name=name, version="2", state="READY")
        return response

    def ModelStatistics(self, request):
        if self.wrong == "statistics":
            raise StatusError(UNKNOWN)
        return make("ModelStatisticsResponse")

    def ModelConfig(self, request):
        if self.wrong == "config":
            raise StatusError(UNKNOWN)
        return make("ModelConfigResponse")

    def RepositoryModelLoad(self, request):
        name = request.model_name or (request.repository_name if self.wrong != "field 1" else "")
        self.known(name)
        self.loaded.add(name)
        return make("RepositoryModelLoadResponse")

    def RepositoryModelUnload(self, request):
        self.loaded.discard(request.model_name)
        return make("RepositoryModelUnloadResponse")


class FakeGrpc(grpc.GenericRpcHandler):
    """`Service` behind a socket."""

    def __init__(self, wrong=""):
        self.fake = Service(wrong)
        self.lock = threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def service(self, details):
        """Return grpcio's handler of a method."""
        name = details.method.rpartition("/")[2]
        if name == "NoSuchMethod" and self.fake.wrong != "accepts all":
            return None
        return grpc.stream_stream_rpc_method_handler(self._stream) if name == "ModelStreamInfer" else self._unary(name)

    def _unary(self, name):
        def handle(data, context):
            try:
                with self.lock:
                    return self.fake.answer(name, data).SerializeToString()
            except StatusError as error:
                if name == "NoSuchMethod":
                    return b""
                context.abort(error.code, "refused")

        return grpc.unary_unary_rpc_method_handler(handle)

    def _stream(self, data, context):
        for request in data:
            try:
                answer = self.fake.ModelInfer(read("ModelInferRequest", request))
                yield make("ModelStreamInferResponse", infer_response=answer).SerializeToString()
            except StatusError as error:
                if self.fake.wrong == "stream ends":
                    context.abort(error.code, "refused")
                yield make("ModelStreamInferResponse", error_message="refused").SerializeToString()

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()
