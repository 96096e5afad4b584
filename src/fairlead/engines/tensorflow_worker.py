"""TensorFlow itself at work, in the sandbox only: opens a SavedModel that has passed the reader's check, and asks it.

Takes a folder and a signature's name, gives a function of named rows. Raises UnsupportedError where TensorFlow cannot open or run the
model. Nodes that were placed on a GPU or TPU run on the CPU. Is never imported by a process that serves.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.interface import Array, Interface, shorten
from fairlead.core.ports import SandboxLimits
from fairlead.engines.sandboxed_engine import write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tensorflow_names import in_order
from fairlead.errors import MissingExtraError, UnsupportedError

# Address space, not memory: TensorFlow reserves far more than it uses.
TENSORFLOW_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=900, wall_s=900.0)
_BATCH_ROWS = 256
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its kernels add in another order on each kind of processor
    "KERAS_BACKEND": "tensorflow",
}
_HINT = "Export it again with TensorFlow 2.16 or later."


def describe_tensorflow() -> str:
    """Return e.g. `tensorflow 2.21.0`, from what is installed: nothing is imported. Raises MissingExtraError."""
    for name in ("tensorflow", "tensorflow-cpu"):
        try:
            return f"tensorflow {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    raise MissingExtraError("tensorflow", needed_for="Running the model in TensorFlow itself")


def start_tensorflow() -> Any:
    """Import TensorFlow, quiet and on the CPU, and return the module."""
    os.environ.update(_ENVIRONMENT)
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    tensorflow.config.set_soft_device_placement(True)
    return tensorflow


class SavedModelFunction:
    """One signature of an opened SavedModel. `inputs` and `outputs` are its own names in the interface's order."""

    def __init__(self, folder: Path, signature: str) -> None:
        self.folder = folder
        self.tensorflow = start_tensorflow()
        try:
            self.loaded = self.tensorflow.saved_model.load(str(folder))
            self.function = self.loaded.signatures[signature]
        except Exception as error:  # TensorFlow raises whatever a node or an object raises; all of it means that it cannot open the folder
            raise UnsupportedError(
                f"TensorFlow {self.tensorflow.__version__} cannot open the SavedModel: {first_line(error)}.", hint=_HINT
            ) from error
        self.inputs = in_order(self.function.structured_input_signature[1])
        self.outputs = in_order(self.function.structured_outputs)

    def ask(self, rows: Sequence[Array]) -> list[Array]:
        """Return the outputs for inputs given in order. Raises UnsupportedError where TensorFlow cannot compute them."""
        given = {name: self.tensorflow.constant(tensor) for name, tensor in zip(self.inputs, rows, strict=True)}
        try:
            answers = self.function(**given)
            return [_plain(answers[name].numpy()) for name in self.outputs]
        except Exception as error:  # what a kernel raises for a shape or a value that it does not take
            raise UnsupportedError(
                f"TensorFlow cannot run the model: {first_line(error)}.", hint="Check the rows and their sizes."
            ) from error


def run_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run the signature `signature` of the folder at `path` on the rows in `inputs`, for `interface`."""
    interface = msgspec.convert(arguments["interface"], Interface)
    model = SavedModelFunction(Path(arguments["path"]), str(arguments["signature"]))
    rows = read_tensors(Path(arguments["inputs"]))
    tensors = [rows[spec.name] for spec in interface.inputs]
    if len(model.inputs) != len(tensors) or len(model.outputs) != len(interface.outputs):
        raise UnsupportedError("TensorFlow sees other inputs and outputs than the file says.", hint=_HINT)
    return write_answers(arguments["scratch"], answer_in_pieces(model.ask, tensors, interface))


def answer_in_pieces(ask: Any, tensors: Sequence[Array], interface: Interface) -> dict[str, Array]:
    """Return the answers by the interface's names, asked for some rows at a time."""
    starts = range(0, len(tensors[0]), _BATCH_ROWS)
    pieces = [ask([tensor[start : start + _BATCH_ROWS] for tensor in tensors]) for start in starts]
    return {spec.name: np.concatenate([piece[place] for piece in pieces]) for place, spec in enumerate(interface.outputs)}


def _plain(answer: Array) -> Array:
    """Texts come as bytes from TensorFlow; whatever is not UTF-8 shows as such."""
    if answer.dtype.kind not in "OS":
        return answer
    texts = np.empty(answer.size, dtype=object)
    texts[:] = [item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else str(item) for item in answer.flat]
    return texts.reshape(answer.shape)


def first_line(error: Exception) -> str:
    """Return the first line that says something, without a full stop at its end."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shorten(line.strip().rstrip("."), 200)
