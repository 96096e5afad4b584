"""The reference for Keras models where Keras is not there: the layer graph evaluated with numpy, in float64.

Takes core.layer_graph.LayerGraph with its arrays; gives an `Engine`. Written from Keras's documented semantics and independent of the
ONNX converter, so that the two check each other. Runs no code from the file and needs no sandbox: the graph is data. Raises
UnsupportedError (a layer or option that it does not know; at construction), RequestError, UnavailableError. Slow; never for serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.layer_graph import GRAPH_INPUT, Call, LayerGraph, ValueRef
from fairlead.core.layer_kinds import KNOWN_KINDS, call_arguments
from fairlead.core.ports import Sandbox
from fairlead.engines.layer_graph_file import read_layer_graph
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.registry import build
from fairlead.engines.layers.value import Inputs
from fairlead.errors import RequestError, UnavailableError, UnsupportedError

_PIECE_BYTES = 64 * 2**20  # of widened inputs in one piece: every layer's output of one piece is held until the piece is done
_ATTENTION_CONSTANTS = frozenset({"use_causal_mask", "return_attention_scores"})


class LayerGraphEngine:
    """Evaluates a layer graph. Holds no state between calls of `run`, so threads may share it."""

    def __init__(self, graph: LayerGraph, weights: Mapping[str, Array], interface: Interface) -> None:
        self._graph = graph
        self._interface = interface
        self._evaluations = {name: build(LayerSpec.of(layer, weights)) for name, layer in graph.layers.items()}
        self._is_closed = False
        _check_calls(graph)

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What evaluates the graph, with version."""
        return f"Fairlead's own evaluation of the layers (numpy {np.__version__}, float64)"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        if self._is_closed:
            raise UnavailableError("The reference engine was closed.")
        rows = self._interface.check_inputs(inputs)
        names = list(outputs) or [spec.name for spec in self._interface.outputs]
        for name in names:
            self._interface.output(name)
        step = max(1, _PIECE_BYTES * rows // max(1, sum(8 * inputs[spec.name].size for spec in self._graph.inputs)))
        starts = range(0, max(rows, 1), step)
        pieces = [self._run_piece({name: tensor[start : start + step] for name, tensor in inputs.items()}, names) for start in starts]
        return pieces[0] if len(pieces) == 1 else {name: np.concatenate([piece[name] for piece in pieces]) for name in names}

    def _run_piece(self, inputs: Tensors, names: Sequence[str]) -> dict[str, Array]:
        known = {ValueRef(GRAPH_INPUT, place): _widened(inputs[spec.name]) for place, spec in enumerate(self._graph.inputs)}
        for number, call in enumerate(self._graph.calls):
            results = self._evaluate(call, known)
            known |= {ValueRef(number, place): tensor for place, tensor in enumerate(results)}
        refs = dict(self._graph.outputs)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, as in the framework
            return {name: known[refs[name]].astype(self._interface.output(name).dtype.numpy) for name in names}

    def _evaluate(self, call: Call, known: Mapping[ValueRef, Array]) -> tuple[Array, ...]:
        arguments = call_arguments(self._graph.layers[call.layer].kind, call)
        inputs = Inputs({name: tuple(known[ref] for ref in refs) for name, refs in arguments.items()}, call.constants)
        try:
            return self._evaluations[call.layer](inputs)
        except ValueError as error:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs.tensors)
            raise RequestError(f"Layer '{call.layer}' cannot take inputs of shape {shapes}.") from error

    def close(self) -> None:
        """Let go of the weights. Idempotent."""
        self._is_closed = True
        self._evaluations = {}


def _widened(tensor: Array) -> Array:
    return tensor.astype(np.float64) if tensor.dtype.kind == "f" else tensor


def _check_calls(graph: LayerGraph) -> None:
    """Raise UnsupportedError where a call gives its layer something that the evaluation would not look at."""
    for call in graph.calls:
        kind = graph.layers[call.layer].kind
        unknown = set(call_arguments(kind, call)) - set(KNOWN_KINDS[kind].arguments)
        is_attention = "query" in KNOWN_KINDS[kind].arguments
        unknown |= {name for name, value in call.constants.items() if value and not (is_attention and name in _ATTENTION_CONSTANTS)}
        if unknown:
            raise UnsupportedError(f"Layer '{call.layer}' ({kind}) is called with '{min(unknown)}', which Fairlead cannot evaluate.")


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> LayerGraphEngine:
    """Return the engine for an artifact of form layer-graph. Raises CorruptError, UnsupportedError. Writes nothing, starts nothing."""
    del scratch, sandbox  # the graph is data of our own: nothing to isolate
    graph, weights = read_layer_graph(artifact.path)
    return LayerGraphEngine(graph, weights, artifact.interface)
