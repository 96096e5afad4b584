"""The engine that runs OpenVINO IR on the CPU, in single precision.

Takes model.xml with model.bin beside it, as `convert.onnx_to_openvino` writes them, and the interface that the model has to have; gives an
`Engine`. Raises SourceError where the files are not such a model, RequestError where inputs do not fit, TooLargeError where an answer does
not fit into memory, UnavailableError after `close`. OpenVINO computes whole numbers in 32 bits and loses NaN on the way: values for which
it would answer otherwise than the model are refused. It never uses a cache, a device other than the CPU, or telemetry, and never shows a
path or a node of the model in an error.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.engines.openvino_library import core, openvino
from fairlead.errors import RequestError, SourceError, TooLargeError, UnavailableError

GUARD = "fairlead_in_range"  # a scalar output: whether every index that this request computes lies inside of its table
INTEGER_LIMIT = 2**23  # whole numbers up to here survive OpenVINO's comparisons, which are in float32, with room for one addition
_TYPES = {
    "boolean": DType.BOOL,
    "u8": DType.UINT8,
    "u16": DType.UINT16,
    "i8": DType.INT8,
    "i16": DType.INT16,
    "i32": DType.INT32,
    "i64": DType.INT64,
    "f16": DType.FP16,
    "f32": DType.FP32,
}


class _Loaded:
    """One compiled model, its ports by name, and its idle requests."""

    def __init__(self, path: Path, thread_count: int) -> None:
        self.compiled = _compile(path, thread_count)
        self.inputs = _ports(self.compiled.inputs)
        self.outputs = _ports(self.compiled.outputs)
        self.guard = self.outputs.pop(GUARD, None)
        self.idle: deque[Any] = deque()

    def request(self) -> Any:
        """Return an idle request, or a new one."""
        try:
            return self.idle.pop()
        except IndexError:
            return self.compiled.create_infer_request()


class OpenVinoEngine:
    """Runs one model. Safe to call from several threads: each call takes a request of its own out of a pool."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1) -> None:
        self._path, self._thread_count = path, thread_count
        self._lock = threading.Lock()
        loaded = _Loaded(path, thread_count)
        _check_interface(loaded.inputs, loaded.outputs, interface)
        self._interface = interface
        self._wide = tuple(spec for spec in interface.inputs if spec.dtype in (DType.INT32, DType.INT64))
        self._floats = tuple(spec for spec in interface.inputs if spec.dtype.is_float)
        self._loaded: _Loaded | None = loaded

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """The runtime with its version."""
        return f"openvino {openvino.__version__.partition('-')[0]}"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        with self._lock:  # held while a model is compiled again
            loaded = self._loaded
        if loaded is None:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        rows = self._interface.check_inputs(inputs)
        self._check_values(inputs)
        names = [self._interface.output(name).name for name in outputs] or [spec.name for spec in self._interface.outputs]
        try:
            answers = _ask(loaded, inputs, names)
        except TooLargeError:
            self._renew(loaded)
            raise
        if any(answer.shape[:1] != (rows,) for answer in answers.values()):
            raise RequestError("The model does not give one answer per row for inputs of these shapes.", hint="Compare with its metadata.")
        return answers

    def close(self) -> None:
        """Give back the model's memory once no call uses it any more."""
        with self._lock:
            self._loaded = None

    def _renew(self, failed: _Loaded) -> None:
        """Compile again: a model that did not get memory once asks for as much in every call from then on."""
        with self._lock:
            if self._loaded is failed:
                self._loaded = None
                self._loaded = _Loaded(self._path, self._thread_count)

    def _check_values(self, inputs: Tensors) -> None:
        for spec in self._wide:
            tensor = inputs[spec.name]
            if tensor.max() > INTEGER_LIMIT or tensor.min() < -INTEGER_LIMIT:
                raise RequestError(
                    f"Input '{spec.name}' holds a number beyond {INTEGER_LIMIT}, which OpenVINO does not compute exactly.",
                    hint="Serve the model with another engine for such values.",
                )
        for spec in self._floats:
            if not np.isfinite(inputs[spec.name]).all():
                raise RequestError(
                    f"Input '{spec.name}' holds NaN or infinity, which OpenVINO does not carry through to the answer.",
                    hint="Send numbers, or serve the model with another engine.",
                )


def _ask(loaded: _Loaded, inputs: Tensors, names: Sequence[str]) -> dict[str, Array]:
    request = loaded.request()
    try:
        # Never `infer`: on one thread it swallows every failure and leaves the answer to the request before in its place (2026.4).
        request.start_async(dict(inputs), share_inputs=True)
        request.wait()
    except (RuntimeError, MemoryError) as error:
        raise _explain(str(error)) from None
    is_inside = loaded.guard is None or bool(request.get_tensor(loaded.guard).data)
    answers = {name: np.array(request.get_tensor(loaded.outputs[name]).data) for name in names} if is_inside else {}
    loaded.idle.append(request)
    if not is_inside:
        raise RequestError("The inputs hold an index outside of the model's table.", hint="Indices go from 0 to its last entry.")
    return answers


def _compile(path: Path, thread_count: int) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # some processors would take bfloat16 by default
        "EXECUTION_MODE_HINT": "ACCURACY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "INFERENCE_NUM_THREADS": str(thread_count),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",  # two models pinned to the same core would wait for each other
        "CACHE_DIR": "",
    }
    try:
        model = core().read_model(path, path.with_suffix(".bin"))
        return core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise SourceError(
            f"OpenVINO {openvino.__version__.partition('-')[0]} cannot load the model: {_plain(str(error), path)}.",
            hint="The file is damaged, or was written for a newer runtime.",
        ) from None


def _ports(ports: Sequence[Any]) -> dict[str, Any]:
    return {name: port for port in ports for name in port.get_names()}


def _check_interface(inputs: dict[str, Any], outputs: dict[str, Any], interface: Interface) -> None:
    """A port may have several names, where an operator between them does nothing; one of them has to be the interface's."""
    for kind, ports, specs in (("input", inputs, interface.inputs), ("output", outputs, interface.outputs)):
        wanted = {spec.name: spec.dtype for spec in specs}
        known = {name: port for name, port in ports.items() if name in wanted}
        found = {name: _TYPES.get(port.get_element_type().get_type_name()) for name, port in known.items()}
        strange = set(ports.values()) - set(known.values())
        if found != wanted or strange:
            shown = {name: _TYPES.get(port.get_element_type().get_type_name()) for name, port in ports.items()}
            raise SourceError(
                f"The model's {kind}s are {_listed(shown)}; its interface says {_listed(wanted)}.",
                hint="Model and interface belong to different versions.",
            )


def _listed(types: dict[str, DType | None] | dict[str, DType]) -> str:
    return ", ".join(f"{name} {dtype.value if dtype else 'of an unknown type'}" for name, dtype in types.items()) or "none"


def _explain(message: str) -> RequestError:
    if re.search(r"alloc|bad_array_new_length|out of memory|length_error|too large", message, re.IGNORECASE):
        return _too_large()
    return RequestError("The model cannot compute an answer for inputs of these shapes and values.", hint="Compare them with its metadata.")


def _too_large() -> TooLargeError:
    return TooLargeError("The answer to this request does not fit into memory.", hint="Send fewer or smaller rows at once.")


def _plain(message: str, path: Path) -> str:
    """Return OpenVINO's reason on one line without paths, neither the file's nor those of the library's own source."""
    lines = [
        line for line in message.replace(str(path), "the file").splitlines() if line and not line.startswith(("Exception from", "Check '"))
    ]
    reason = re.sub(r"(?<!\w)(?:/|src/)[\w./-]+(?::\d+)?", "...", " ".join(lines) or "it is no such file")
    return " ".join(reason.split())[:300].rstrip(". :")
