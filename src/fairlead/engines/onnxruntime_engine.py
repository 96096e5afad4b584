"""The engine that runs ONNX files, and .ort files, with ONNX Runtime on the CPU.

Takes a single-file model and the interface that it has to have; gives an `Engine`. Raises SourceError where the file is not such a
model, RequestError where inputs do not fit, TooLargeError where an answer does not fit into memory, UnavailableError after `close`.
It never uses a provider other than the CPU's, never registers custom operators, and never shows a path or a node of the model in an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.engines.onnxruntime_binding import BoundCalls
from fairlead.errors import RequestError, SourceError, SpecError, TooLargeError, UnavailableError

OPTIMIZATIONS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_TYPES = {
    "tensor(bool)": DType.BOOL,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(float16)": DType.FP16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}
LOAD_ERRORS = (
    ort_errors.NoSuchFile,
    ort_errors.InvalidProtobuf,
    ort_errors.InvalidGraph,
    ort_errors.InvalidArgument,
    ort_errors.NotImplemented,
    ort_errors.NoModel,
    ort_errors.Fail,
    ort_errors.RuntimeException,
)
_RUN_ERRORS = (ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.RuntimeException, ort_errors.NotImplemented)
_INDEX = re.compile(r"idx=(-?\d+) must be within the inclusive range \[(-?\d+),(-?\d+)\]")
_FATAL_SEVERITY = 4


class OnnxRuntimeEngine:
    """Runs one ONNX file. Safe to call from several threads; each call computes on `thread_count` threads.

    `session` are values of `session_settings`: which graph optimizations are made, whether operators that do not depend on each other run
    at once, whether memory is kept between calls, and whether it is planned ahead.
    """

    session_settings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "graph": ("all", "extended", "basic", "none"),
        "execution": ("sequential", "parallel"),
        "arena": ("on", "off"),
        "pattern": ("on", "off"),
    }

    def __init__(
        self,
        path: Path,
        interface: Interface,
        *,
        thread_count: int = 1,
        optimization: str = "all",
        session: Mapping[str, str] | None = None,
    ) -> None:
        self._interface = interface
        self._output_names = [spec.name for spec in interface.outputs]
        self._text_inputs = tuple(spec.name for spec in interface.inputs if spec.dtype is DType.BYTES)
        chosen = session or {}
        opened = open_session(path, thread_count=thread_count, optimization=chosen.get("graph", optimization), settings=chosen)
        _check_interface(opened, interface)
        self._session: Any = opened
        self._bound = BoundCalls(interface)

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """The runtime with its version."""
        return f"onnxruntime {onnxruntime.__version__}"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        session = self._session
        if session is None:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        rows = self._interface.check_inputs(inputs)
        if not outputs or list(outputs) == self._output_names:
            answers = self._bound.run(session, inputs, rows)
            if answers is not None:
                return answers
        for name in self._text_inputs:
            _check_text(name, inputs[name])
        names = self._output_names
        if outputs:
            names = [self._interface.output(name).name for name in outputs]
        try:
            results = session.run(names, dict(inputs))
        except _RUN_ERRORS as error:
            raise _explain(str(error)) from None
        except ort_errors.EngineError:
            raise UnavailableError("The runtime failed.", hint="Load the model again.") from None
        return dict(zip(names, results, strict=True))

    def close(self) -> None:
        """Give back the session's memory once no call uses it any more."""
        self._session = None
        self._bound.clear()


def open_session(path: Path, *, thread_count: int, optimization: str, settings: Mapping[str, str] | None = None) -> Any:
    """Return an ONNX Runtime session for the file at `path`, set as an engine's `settings` say; raises SourceError, SpecError for an
    unknown optimization level.
    """
    if optimization not in OPTIMIZATIONS:
        raise SpecError(f"There is no optimization level '{optimization}'.", hint=f"Known: {', '.join(OPTIMIZATIONS)}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.inter_op_num_threads = 1
    options.graph_optimization_level = OPTIMIZATIONS[optimization]
    _set(options, settings or {}, thread_count)
    options.log_severity_level = _FATAL_SEVERITY
    # Threads that spin between calls take the cores from the server and from each other: docs/reference/verdict.md, "Threads".
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise SourceError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {_plain(str(error), path)}.",
            hint="The file is damaged, or was written for a newer runtime.",
        ) from None


def _set(options: Any, settings: Mapping[str, str], thread_count: int) -> None:
    options.enable_cpu_mem_arena = settings.get("arena") != "off"
    options.enable_mem_pattern = settings.get("pattern") != "off"
    if settings.get("execution") == "parallel":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = thread_count


def session_specs(session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs as the file itself declares them; raises SourceError for anything that is not a tensor."""
    return tuple(_spec(item) for item in session.get_inputs()), tuple(_spec(item) for item in session.get_outputs())


def _spec(item: Any) -> TensorSpec:
    if item.type not in _TYPES:
        raise SourceError(f"'{item.name}' is a {item.type}, not a tensor.", hint="Convert the model again; Fairlead writes tensors only.")
    return TensorSpec(item.name, _TYPES[item.type], tuple(size if isinstance(size, int) else None for size in item.shape or ()))


def _check_interface(session: Any, interface: Interface) -> None:
    for kind, has, wants in zip(("input", "output"), session_specs(session), (interface.inputs, interface.outputs), strict=True):
        types = {spec.name: spec.dtype for spec in has}
        wanted = {spec.name: spec.dtype for spec in wants}
        if types != wanted:
            raise SourceError(
                f"The model's {kind}s are {_listed(types)}; its interface says {_listed(wanted)}.",
                hint="Model and interface belong to different versions.",
            )


def _listed(types: dict[str, DType]) -> str:
    return ", ".join(f"{name} {dtype.value}" for name, dtype in types.items()) or "none"


def _check_text(name: str, tensor: Array) -> None:
    """ONNX Runtime would send `str(element)` for anything that is not text."""
    for element in tensor.flat:
        if not isinstance(element, str):
            raise RequestError(f"Input '{name}' holds a {type(element).__name__} among its texts.", hint="Send strings only.")
        if not element.isascii():
            try:
                element.encode()
            except UnicodeEncodeError:
                raise RequestError(f"Input '{name}' holds text that is not valid Unicode.", hint="Send UTF-8.") from None


def _explain(message: str) -> RequestError:
    index = _INDEX.search(message)
    if index is not None:
        return RequestError(
            f"The inputs hold the index {index[1]}; the model's table has {int(index[3]) + 1} entries.",
            hint=f"Indices go from 0 to {index[3]}.",
        )
    if "allocate memory" in message or "bad_alloc" in message:
        return TooLargeError("The answer to this request does not fit into memory.", hint="Send fewer or smaller rows at once.")
    return RequestError("The model cannot compute an answer for inputs of these shapes and values.", hint="Compare them with its metadata.")


def _plain(message: str, path: Path) -> str:
    """Return ONNX Runtime's reason on one line without the file's path and the runtime's own source paths."""
    reason = message.partition(" : ")[2].partition(" : ")[2] or message
    reason = reason.replace(str(path), "the file")
    reason = re.sub(r"(?:FAIL : )?\S+\.(?:h|cc|cpp):\d+ .*?\)(?: const)? ", "", reason)
    reason = re.sub(r"(?<!\w)/[\w./-]+", "...", reason)
    return " ".join(reason.split())[:300].rstrip(". ")
