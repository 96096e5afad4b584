"""Does the candidate compute what the original computes? Differences per output, decisions that differ, batches, determinism.

Takes engines and rows; gives core `Parity` and the outputs of both. The comparing functions are pure. Raises what an engine raises, and
CorruptError where an engine gives other outputs than its interface says. A NaN is never equal to anything without being counted.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.calibration import probability_gap
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.core.verdict import OutputParity, Parity
from fairlead.errors import CorruptError
from fairlead.verify.decisions import compare_decisions
from fairlead.verify.differences import differences
from fairlead.verify.run_rows import count_rows, run_in_pieces, run_reference

# Sizes that show a batch dimension that was frozen, or rows that see each other; 7 is no multiple of any vector width.
_BATCH_SIZES = (1, 2, 7)
_BATCH_ROWS = 35


@dataclass(frozen=True)
class Comparison:
    """`parity`, and what it was computed from: outputs of both on the dataset's rows (without probes), by the interface's names.

    `scaled_max` is the largest difference over all outputs that are no labels, divided by max(|original|, 1), and `batch_scaled_max` that
    between batch sizes. `first_flip` is a sentence on the first decision that differs. `nan_count` counts rows where both answer NaN.
    `probability_gap` says how far the candidate's scores are from being probabilities, None where the original's are none.
    """

    parity: Parity
    original: Tensors = field(repr=False)
    candidate: Tensors = field(repr=False)
    scaled_max: float
    batch_scaled_max: float
    first_flip: str
    nan_count: int
    probability_gap: float | None


def compare(reference: Engine, candidate: Engine, inputs: Tensors, probes: Tensors | None, tolerance: float) -> Comparison:
    """Run both on the same rows and compare; `probes` are rows at the model's own thresholds, compared like the others."""
    interface = candidate.interface
    rows = count_rows(inputs)
    everything = with_probes(inputs, probes)
    with ThreadPoolExecutor(1) as pool:  # the original often runs in a process of its own, which takes seconds to start
        asked = pool.submit(run_reference, reference, everything)
        got = run_in_pieces(candidate, everything)
        again = run_in_pieces(candidate, everything)
        batches = {str(size): compare_batches(candidate, everything, got, size) for size in _BATCH_SIZES}
        expected = _by_names(asked.result(), interface)
    decisions = compare_decisions(interface, expected, got, row_count=rows, tolerance=tolerance)
    outputs = tuple(compare_output(spec.name, expected[spec.name], got[spec.name]) for spec in interface.outputs)
    parity = Parity(
        row_count=count_rows(everything),
        probe_count=count_rows(everything) - rows,
        outputs=outputs,
        decision_flip_count=decisions.flip_count,
        batch_max_abs={size: worst for size, (worst, _) in batches.items()},
        is_deterministic=all(is_same(got[name], again[name]) for name in got),
        tolerance=tolerance,
        probe_flip_count=decisions.probe_count,
        jump_count=decisions.jump_count,
        flips=decisions.first,
    )
    label = _label_output(interface)
    return Comparison(
        parity=parity,
        original={name: tensor[:rows] for name, tensor in expected.items()},
        candidate={name: tensor[:rows] for name, tensor in got.items()},
        scaled_max=max((output.max_rel for output in outputs if output.output != label), default=0.0),
        batch_scaled_max=max(scaled for _, scaled in batches.values()),
        first_flip=decisions.sentence,
        probability_gap=probability_gap(interface, expected, got),
        nan_count=_count_shared_nan(expected, got),
    )


def compare_output(name: str, original: Array, candidate: Array) -> OutputParity:
    """Return the differences of one output; infinite where shapes differ, or where one is NaN and the other is not."""
    absolute, scaled = differences(original, candidate)
    if absolute.size == 0:
        return OutputParity(name, 0.0, 0.0, 0.0)
    return OutputParity(name, float(absolute.max()), float(absolute.mean()), float(scaled.max()))


def compare_batches(engine: Engine, inputs: Tensors, whole: Tensors, size: int) -> tuple[float, float]:
    """Return the largest absolute and scaled difference between the first rows run in batches of `size` and `whole`, run in large ones."""
    count = min(_BATCH_ROWS, count_rows(inputs))
    first = {name: tensor[:count] for name, tensor in inputs.items()}
    pieces = run_in_pieces(engine, first, size)
    both = [differences(tensor[:count], pieces[name]) for name, tensor in whole.items()]
    return max(float(absolute.max(initial=0.0)) for absolute, _ in both), max(float(scaled.max(initial=0.0)) for _, scaled in both)


def is_same(left: Array, right: Array) -> bool:
    """Whether two arrays have the same bits (text: the same text)."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool((left == right).all()) if left.dtype.kind == "O" else left.tobytes() == right.tobytes()


def _count_shared_nan(original: Tensors, candidate: Tensors) -> int:
    """Rows in which an output is NaN in both."""
    rows = np.zeros(count_rows(original), dtype=bool)
    for name, tensor in original.items():
        other = candidate[name]
        if tensor.dtype.kind == "f" and other.dtype.kind == "f" and tensor.shape == other.shape:
            rows |= (np.isnan(tensor) & np.isnan(other)).reshape(tensor.shape[0], -1).any(axis=1)
    return int(rows.sum())


def _label_output(interface: Interface) -> str:
    """The output that holds labels: a distance between two labels has no meaning, they count as decisions."""
    rule = interface.decision
    return rule.output if rule is not None and rule.kind is DecisionKind.LABEL else ""


def _by_names(outputs: dict[str, Array], interface: Interface) -> dict[str, Array]:
    """The original's outputs under the candidate's names: conversion may rename outputs, but keeps their order."""
    names = [spec.name for spec in interface.outputs]
    if set(names) == set(outputs):
        return outputs
    if len(names) != len(outputs):
        raise CorruptError(
            f"The original gives {len(outputs)} outputs, the converted model {len(names)}.", hint="Please report this model."
        )
    return dict(zip(names, outputs.values(), strict=True))


def with_probes(inputs: Tensors, probes: Tensors | None) -> Tensors:
    """Return the rows that both are asked: those given, then the probes."""
    if probes is None:
        return inputs
    return {name: np.concatenate([tensor, probes[name].astype(tensor.dtype)]) for name, tensor in inputs.items()}
