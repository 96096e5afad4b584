"""TensorFlow's own converter at work, in the sandbox only: a SavedModel or a Keras file -> .tflite, compared with the original.

Takes the job's arguments, writes scratch/model.tflite. Raises UnsupportedError where the model has no form in built-in operators, or
answers otherwise. A model that cannot be written with a free batch (recurrent ones) is written for one row; the engine runs it row by row.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface
from fairlead.engines.export_proof import BATCHES, LENGTHS, draw
from fairlead.engines.litert_engine import LiteRtEngine, describe_litert
from fairlead.engines.tensorflow_worker import SavedModelFunction, first_line, start_tensorflow
from fairlead.errors import FairleadError, UnsupportedError
from fairlead.security.tflite_check import check_tflite, open_tflite, require_safe

_HINT = "Other engines run this model."
_TOLERANCE = 1e-4  # absolute below 1 and relative above; verify holds the user's rows to the conversion's own
_WRITTEN = (("with a free batch", None), ("for one row at a time", 1))

Call = Callable[..., Any]


def build_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the .tflite of the model at `path`, by the first kind of batch that gives the original's answers."""
    interface = msgspec.convert(arguments["interface"], Interface)
    if any(spec.dtype is DType.BYTES for spec in (*interface.inputs, *interface.outputs)):
        raise UnsupportedError("TensorFlow Lite does not take texts here.", hint=_HINT)
    path, target = Path(arguments["path"]), Path(arguments["scratch"]) / MAIN_FILE[RuntimeForm.TFLITE]
    call = _open_keras(path, interface) if arguments["is_keras"] else _open_saved_model(path, str(arguments["signature"]), interface)
    tensorflow = start_tensorflow()
    failures = []
    for title, batch in _WRITTEN:
        try:
            target.write_bytes(_convert(tensorflow, call, interface, batch))
            require_safe(check_tflite(open_tflite(target)))
            _prove(target, interface, call)
        except FairleadError as error:
            failures.append(f"{title}: {error.message}")
            continue
        versions = {"tensorflow": str(tensorflow.__version__), "ai-edge-litert": describe_litert().rpartition(" ")[2]}
        return {"versions": versions, "notes": [f"written {title}", *(f"not {failure}" for failure in failures)]}
    raise UnsupportedError(f"TensorFlow Lite cannot hold the model: {'; '.join(failures)}", hint=_HINT)


def _open_saved_model(path: Path, signature: str, interface: Interface) -> Call:
    model = SavedModelFunction(path, signature)

    def call(*tensors: Any) -> list[Any]:
        answers = model.function(**dict(zip(model.inputs, tensors, strict=True)))
        return [answers[name] for name in model.outputs]

    if (len(model.inputs), len(model.outputs)) != (len(interface.inputs), len(interface.outputs)):
        raise UnsupportedError("TensorFlow sees other inputs and outputs than the file says.", hint=_HINT)
    return call


def _open_keras(path: Path, interface: Interface) -> Call:
    start_tensorflow()
    model = importlib.import_module("fairlead.engines.keras_worker").open_model(path, "tensorflow")
    keras = importlib.import_module("keras")

    def call(*tensors: Any) -> list[Any]:
        structure = getattr(model, "input", None)
        given = tensors[0] if structure is None else keras.tree.pack_sequence_as(structure, list(tensors))
        return list(keras.tree.flatten(model(given, training=False)))

    if len(model.inputs or ()) != len(interface.inputs) or len(model.outputs or ()) != len(interface.outputs):
        raise UnsupportedError("Keras sees other inputs and outputs than were read from the file.", hint=_HINT)
    return call


def _convert(tensorflow: Any, call: Call, interface: Interface, batch: int | None) -> bytes:
    """Return the .tflite file; its signature has the interface's names, and its variables are constants."""
    specs = [tensorflow.TensorSpec((batch, *spec.shape[1:]), spec.dtype.numpy, name=spec.name) for spec in interface.inputs]

    def named(*tensors: Any) -> dict[str, Any]:
        answers = zip(interface.outputs, call(*tensors), strict=True)
        return {spec.name: tensorflow.cast(answer, spec.dtype.numpy) for spec, answer in answers}

    try:
        concrete = tensorflow.function(named, input_signature=specs, autograph=False).get_concrete_function()
        frozen = importlib.import_module("tensorflow.python.framework.convert_to_constants").convert_variables_to_constants_v2(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
        names = sorted(spec.name for spec in interface.outputs)  # the order in which TensorFlow flattens a dictionary

        def plain(*tensors: Any) -> dict[str, Any]:
            return dict(zip(names, tensorflow.nest.flatten(frozen(*tensors)), strict=True))

        module, folder = tensorflow.Module(), tempfile.mkdtemp()
        function = tensorflow.function(plain, input_signature=specs, autograph=False)
        tensorflow.saved_model.save(module, folder, signatures={"serving_default": function.get_concrete_function()})
        written: bytes = tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"]).convert()
    except Exception as error:  # the converter raises whatever an operator without a TensorFlow Lite form raises
        raise UnsupportedError(f"{first_line(error)}.", hint=_HINT) from error
    return written


def _prove(path: Path, interface: Interface, call: Call) -> None:
    """Raise UnsupportedError unless LiteRT gives the original's answers at several batches, and lengths where they are free."""
    engine = LiteRtEngine(path, interface)
    has_free_length = any(size is None for spec in interface.inputs for size in spec.shape[1:])
    for length in LENGTHS if has_free_length else LENGTHS[:1]:
        for batch in BATCHES:
            rows = {spec.name: draw(spec, batch, length) for spec in interface.inputs}
            answers = engine.run(rows)
            for spec, wanted in zip(interface.outputs, call(*rows.values()), strict=True):
                if not _is_close(np.asarray(wanted), answers[spec.name]):
                    raise UnsupportedError(f"It answers otherwise than the original (output '{spec.name}', batch of {batch}).", hint=_HINT)


def _is_close(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True) if one.dtype.kind == "f" else np.array_equal(one, other))
