"""The engine that runs tree ensembles with a kernel compiled on this machine.

Takes a file of engines.tree_ensemble_file and the interface that it has to have; gives an `Engine`. Sums are those of
tree_ensemble_engine bit for bit, in batches of every size, on any number of threads. Raises EnvironmentalError where the kernel cannot be
compiled (before the file is opened), CorruptError where the file is not sound, SourceError where the interface belongs to another model,
RequestError where inputs do not fit, TooLargeError, UnavailableError after `close`. The file is data: nothing in it becomes code, and every
index in it is checked before the kernel sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fairlead._version import __version__
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES, SCORES, outputs_of
from fairlead.engines.trees_build import find_recipe, kernel
from fairlead.engines.trees_program import TRANSFORMS, Answer, Program
from fairlead.errors import SourceError, TooLargeError, UnavailableError

_PIECE_ROWS = 8192  # computed at once on one thread
_BLOCK_ROWS = 32  # as in the kernel: pieces end where its blocks do
_STEPS_WORTH_A_THREAD = 100_000  # about as many nanoseconds
_Taker = Callable[[Answer], Array]


class TreesEngine:
    """Runs one ensemble. Safe to call from several threads; each call computes on up to `thread_count` threads, which share the rows."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1) -> None:
        library = kernel()
        trees = read_tree_ensemble(path)
        _check_interface(trees, interface)
        self._interface = interface
        self._input = interface.inputs[0]
        self._fitting = (self._input.dtype.numpy, trees.feature_count)
        self._thread_count = thread_count
        self._pool = ThreadPoolExecutor(thread_count - 1, "trees") if thread_count > 1 else None
        takers = {spec.name: _taker(trees, interface, spec) for spec in interface.outputs}
        self._model: tuple[Program, dict[str, _Taker]] | None = (Program(trees, library), takers)  # let go of at once by `close`

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """The kernel with its version, and what compiled it."""
        return f"fairlead-trees {__version__}, compiled by {find_recipe().version}"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        model = self._model
        if model is None:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        program, takers = model
        if not self._fits(inputs):
            self._interface.check_inputs(inputs)
        wanted = [self._interface.output(name).name for name in outputs] if outputs else takers
        rows = inputs[self._input.name]
        try:
            answers = self._compute(program, rows)
        except MemoryError:
            raise TooLargeError("The answer to this request does not fit into memory.", hint="Send fewer rows at once.") from None
        if len(answers) == 1:
            return {name: takers[name](answers[0]) for name in wanted}
        return {name: np.concatenate([takers[name](answer) for answer in answers]) for name in wanted}

    def close(self) -> None:
        """Give back the trees' memory once no call uses it any more, and the threads. Idempotent."""
        self._model = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _fits(self, inputs: Tensors) -> bool:
        """Whether the interface would let these inputs pass: the same question as its own, for the usual case alone."""
        rows = inputs.get(self._input.name)
        if rows is None or len(inputs) != 1 or type(rows) is not np.ndarray:
            return False
        dtype, features = self._fitting
        return rows.dtype == dtype and rows.ndim == 2 and rows.shape[1] == features and rows.shape[0] > 0

    def _compute(self, program: Program, rows: Array) -> list[Answer]:
        """Return the answers to consecutive pieces of `rows`."""
        count = len(rows)
        if self._pool is None or count < 2 * _BLOCK_ROWS or count * program.steps_per_row < 2 * _STEPS_WORTH_A_THREAD:
            if count <= _PIECE_ROWS:
                return [program.compute(rows)]
            return [program.compute(piece) for piece in _pieces(rows, _PIECE_ROWS)]
        shares = min(self._thread_count, count * program.steps_per_row // _STEPS_WORTH_A_THREAD)
        first, *others = _pieces(rows, min(_PIECE_ROWS, -(-count // shares)))
        try:
            waiting = [self._pool.submit(program.compute, piece) for piece in others]
        except RuntimeError:  # closed meanwhile
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.") from None
        return [program.compute(first), *(future.result() for future in waiting)]


def _pieces(rows: Array, size: int) -> list[Array]:
    size += -size % _BLOCK_ROWS
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _taker(trees: TreeEnsemble, interface: Interface, spec: TensorSpec) -> _Taker:
    """Return what makes the output `spec` of an answer: the kernel's own where it has it, else what its sums give."""
    if trees.transform not in TRANSFORMS:
        return lambda answer: outputs_of(trees, interface, answer.sums(), [spec.name])[spec.name]
    if spec.name == LABEL:
        return _label_taker(interface, spec)
    take = Answer.pairs if spec.name == PROBABILITIES and trees.output_count == 1 else Answer.values
    if spec.dtype is trees.sum_dtype:
        return take
    return lambda answer: take(answer).astype(spec.dtype.numpy)


def _label_taker(interface: Interface, spec: TensorSpec) -> _Taker:
    labels = interface.labels
    if not labels or (spec.dtype is DType.INT64 and list(labels) == list(range(len(labels)))):
        return Answer.labels if spec.dtype is DType.INT64 else lambda answer: answer.labels().astype(spec.dtype.numpy)
    known = np.array([str(label) for label in labels], dtype=object) if spec.dtype is DType.BYTES else np.array(labels, spec.dtype.numpy)
    return lambda answer: known[answer.labels()]


def _check_interface(trees: TreeEnsemble, interface: Interface) -> None:
    """Raise SourceError where the interface is not one of these trees: the kernel takes as many features as the interface lets pass."""
    hint = "Model and interface belong to different versions."
    if len(interface.inputs) != 1 or len(interface.inputs[0].shape) != 2 or interface.inputs[0].shape[1] != trees.feature_count:
        raise SourceError(f"The trees take {trees.feature_count} features in one table, and the interface says otherwise.", hint=hint)
    if not interface.inputs[0].dtype.is_float and not interface.inputs[0].dtype.is_integer:
        raise SourceError(f"The trees take numbers, not {interface.inputs[0].dtype.value}.", hint=hint)
    unknown = [spec.name for spec in interface.outputs if spec.name not in (LABEL, PROBABILITIES, PREDICTION, SCORES)]
    if unknown or trees.output_count < 1:
        raise SourceError(f"The trees give no output '{unknown[0] if unknown else ''}'.", hint=hint)
    if interface.labels and len(interface.labels) != max(trees.output_count, 2):
        raise SourceError(
            f"The trees tell {max(trees.output_count, 2)} classes apart; there are {len(interface.labels)} labels.", hint=hint
        )
