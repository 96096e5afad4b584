"""The engine that runs .tflite files with LiteRT on the CPU, and the reference for them.

Takes a .tflite file and the interface that it has to have; gives an `Engine`. Raises SourceError where the file is not such a model,
RequestError where inputs do not fit, UnavailableError after `close`. A file that plans for one row is run row by row; one whose batch is
free is resized. State that the file keeps between calls is cleared before each answer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec, shorten
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tensorflow_names import interface_names, tensor_names
from fairlead.errors import RequestError, SourceError, UnavailableError

_CHATTER = threading.Lock()  # descriptor 2 is the process's own: one changes it at a time
_RUNNER_LIMIT = 4  # each has working memory of its own
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError)  # what LiteRT raises for a file, a shape or a value
_LIMITS = SandboxLimits(memory_bytes=16 * 2**30, cpu_s=900, wall_s=900.0)


class LiteRtEngine:
    """Runs one .tflite file. Safe to call from several threads: each call has an interpreter to itself while it lasts."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1) -> None:
        self._interface = interface
        self._content = path.read_bytes()
        self._thread_count = thread_count
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_RUNNER_LIMIT)
        self._idle = [_Runner(self._content, interface, thread_count)]
        self._plans_one_row = not self._idle[0].is_free
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """The runtime with its version."""
        return describe_litert()

    @property
    def plans_one_row(self) -> bool:
        """Whether the file plans for one row at a time, so that rows are run one after the other."""
        return self._plans_one_row

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        if self._is_closed:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        self._interface.check_inputs(inputs)
        wanted = [self._interface.output(name).name for name in outputs] or [spec.name for spec in self._interface.outputs]
        with self._slots:
            runner = self._take([inputs[spec.name].shape for spec in self._interface.inputs])
            try:
                answers = runner.run(inputs)
            finally:
                with self._lock:
                    self._idle.append(runner)
        return {name: answers[name] for name in wanted}

    def close(self) -> None:
        """Give back the interpreters' memory once no call uses them any more."""
        self._is_closed = True
        with self._lock:
            self._idle.clear()

    def _take(self, shapes: list[tuple[int, ...]]) -> _Runner:
        """Return an idle runner, rather one that is planned for these shapes already."""
        with self._lock:
            fitting = next((runner for runner in self._idle if runner.is_planned_for(shapes)), None)
            chosen = fitting or (self._idle[0] if self._idle else None)
            if chosen is not None:
                self._idle.remove(chosen)
                return chosen
        return _Runner(self._content, self._interface, self._thread_count)


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep from stderr the line about its delegate that LiteRT writes for every model, and that no setting switches off."""
    with _CHATTER:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)


class _Runner:
    """One interpreter with its plan for one shape of inputs at a time."""

    def __init__(self, content: bytes, interface: Interface, thread_count: int) -> None:
        try:
            with _without_chatter():
                self._interpreter = Interpreter(model_content=content, num_threads=thread_count)
                self._inputs, self._outputs = bind(self._interpreter, interface)
                self._interpreter.allocate_tensors()
        except _ERRORS as error:
            raise SourceError(
                f"LiteRT {version('ai-edge-litert')} cannot load the model: {shorten(' '.join(str(error).split()), 200)}.",
                hint="The file is damaged, or was converted for a newer runtime.",
            ) from None
        self._interface = interface
        self.is_free = all(item["shape_signature"][:1].tolist() == [-1] for item in self._inputs)
        self._planned = [tuple(int(size) for size in item["shape"]) for item in self._inputs]

    def is_planned_for(self, shapes: list[tuple[int, ...]]) -> bool:
        """Whether rows of these shapes need no new plan."""
        return shapes == self._planned

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Return every output for all rows: together where the batch is free, else one row after the other."""
        rows = [inputs[spec.name] for spec in self._interface.inputs]
        if self.is_free:
            answers = self._ask(rows)
        else:
            single = [self._ask([tensor[row : row + 1] for tensor in rows]) for row in range(len(rows[0]))]
            answers = [np.concatenate([answer[place] for answer in single]) for place in range(len(self._outputs))]
        for spec, answer in zip(self._interface.outputs, answers, strict=True):
            _check_answer(spec, answer, len(rows[0]))
        return {spec.name: answer for spec, answer in zip(self._interface.outputs, answers, strict=True)}

    def _ask(self, rows: list[Array]) -> list[Array]:
        shapes = [tensor.shape for tensor in rows]
        try:
            if shapes != self._planned:
                self._planned = []
                for item, shape in zip(self._inputs, shapes, strict=True):
                    self._interpreter.resize_tensor_input(item["index"], shape)
                self._interpreter.allocate_tensors()
                self._planned = shapes
            self._interpreter.reset_all_variables()
            for item, tensor in zip(self._inputs, rows, strict=True):
                self._interpreter.set_tensor(item["index"], np.ascontiguousarray(tensor))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(item["index"]) for item in self._outputs]
        except _ERRORS:
            raise RequestError(
                "The model cannot compute an answer for inputs of these shapes and values.", hint="Compare them with its metadata."
            ) from None


def _check_answer(spec: TensorSpec, answer: Array, rows: int) -> None:
    if answer.dtype != spec.dtype.numpy or answer.ndim != len(spec.shape) or answer.shape[0] != rows:
        raise UnavailableError(
            f"LiteRT gives an output '{spec.name}' that does not fit the model.", hint="Run the model by another engine."
        )


def bind(interpreter: Any, interface: Interface) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return LiteRT's details of the interface's inputs and outputs, in its order. Names are those of a signature, else those of tensors.

    Raises ValueError where the file takes and gives something else.
    """
    details = {item["index"]: item for item in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    wanted = [spec.name for spec in interface.inputs], [spec.name for spec in interface.outputs]
    for inputs, outputs in _named(interpreter):
        if all(sorted(names) == sorted(found) for names, found in zip(wanted, (inputs, outputs), strict=True)):
            chosen = [details[inputs[name]] for name in wanted[0]], [details[outputs[name]] for name in wanted[1]]
            _check_types((*interface.inputs, *interface.outputs), (*chosen[0], *chosen[1]))
            return chosen
    raise ValueError("it takes and gives other tensors than its interface says")


def _named(interpreter: Any) -> list[tuple[dict[str, int], dict[str, int]]]:
    found = []
    known = {item["index"] for item in interpreter.get_input_details()}
    for signature in interpreter._get_full_signature_list().values():  # noqa: SLF001 - the public list lacks the tensors behind the names
        if set(signature["inputs"].values()) <= known:
            inputs, outputs = interface_names(signature["inputs"], signature["outputs"])
            found.append(
                (
                    {inputs[key]: index for key, index in signature["inputs"].items()},
                    {outputs[key]: index for key, index in signature["outputs"].items()},
                )
            )
    given, results = interpreter.get_input_details(), interpreter.get_output_details()
    names = tensor_names([item["name"] for item in given], [item["name"] for item in results])
    pairs = [
        {name: int(item["index"]) for name, item in zip(part, items, strict=True)}
        for part, items in zip(names, (given, results), strict=True)
    ]
    return [*found, (pairs[0], pairs[1])]


def _check_types(specs: Sequence[TensorSpec], details: Sequence[Mapping[str, Any]]) -> None:
    for spec, item in zip(specs, details, strict=True):
        if np.dtype(item["dtype"]) != spec.dtype.numpy or len(item["shape"]) != len(spec.shape):
            raise ValueError(f"'{spec.name}' is not {spec.describe()}")


def describe_litert() -> str:
    """Return the runtime with its version."""
    return f"ai-edge-litert {version('ai-edge-litert')}"


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference for an artifact of form tflite-file: LiteRT itself, in the sandbox."""
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface)}
    worker = Worker(
        "fairlead.engines.litert_engine:run_in_sandbox",
        artifact.snapshot,
        f"{describe_litert()} itself, in the sandbox",
        arguments,
        _LIMITS,
    )
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def run_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the rows in `inputs` with the file at `path`."""
    engine = LiteRtEngine(Path(arguments["path"]), msgspec.convert(arguments["interface"], Interface))
    return write_answers(arguments["scratch"], engine.run(read_tensors(Path(arguments["inputs"]))))
