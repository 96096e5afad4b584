"""Do original and candidate decide for the same reasons? Which part of a row each answer hangs on, and how alike the two rankings are.

Takes both engines and rows; gives a core ExplanationParity. Occlusion (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901): a part of
the row (a column, a patch of an image, a position of a sequence) is put to what is usual in the data, and the loss in the score of the
class that the original decided for is the part's weight. The two rankings of a row are compared by Spearman's rank correlation, as in
Krishna et al. 2022 (https://arxiv.org/abs/2202.01602). Never looks at right answers; raises RequirementError where the model has no score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.core.row_parts import is_image, patches, runs
from fairlead.core.verdict import ExplanationParity
from fairlead.errors import RequirementError
from fairlead.verify.run_rows import count_rows, run_in_pieces, run_reference

ROW_LIMIT = 32
PART_LIMIT = 64  # of one row; more elements are taken together in blocks
_BYTES = 256 * 2**20  # of rows and their copies
_SIDE = 7  # patches along each side of an image
_FLAT = 1e-9  # weights that differ by less than this share of the score do not rank
_LOW_PERCENT = 10.0


@dataclass(frozen=True)
class _Part:
    """Elements of one input that are hidden together: a mask over one row of it."""

    name: str
    mask: Array


def compare_attributions(reference: Engine, candidate: Engine, inputs: Tensors, seed: int) -> ExplanationParity:
    """Return how alike both rank the parts of up to 32 rows, drawn with `seed`."""
    interface = candidate.interface
    _check_scores(interface)
    hidden, row_count, part_count = occluded(inputs, seed)
    answers = [run(engine, hidden) for run, engine in ((run_reference, reference), (run_in_pieces, candidate))]
    before, after = (_score_table(interface, outputs, part_count + 1) for outputs in _by_place(answers, interface))
    decided = _decided(before[0])
    weights = [_weights(table, decided) for table in (before, after)]
    agreements = np.array([rank_agreement(left, right) for left, right in zip(weights[0].T, weights[1].T, strict=True)])
    return ExplanationParity(float(agreements.mean()), float(np.percentile(agreements, _LOW_PERCENT)), row_count, part_count)


def occluded(inputs: Tensors, seed: int) -> tuple[dict[str, Array], int, int]:
    """Return what both engines are asked: drawn rows, then each again with one part hidden; and how many rows and parts these are."""
    parts = tuple(_parts(inputs))
    drawn = np.sort(np.random.default_rng(seed).permutation(count_rows(inputs))[: _row_count(inputs, len(parts))])
    rows = {name: tensor[drawn] for name, tensor in inputs.items()}
    return _hidden(rows, usual(inputs), parts), len(drawn), len(parts)


def rank_agreement(left: Array, right: Array) -> float:
    """Return Spearman's rank correlation of two rankings of the same parts, ties by mean rank: 1 the same order, -1 the opposite.

    Where neither ranks (all parts weigh the same), they agree; where only one does, they have nothing in common: 0. NaN ranks nothing.
    """
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return 0.0
    flat = [float(np.ptp(values)) <= _FLAT * max(float(np.abs(values).max()), 1.0) for values in (left, right)]
    if any(flat):
        return float(all(flat))
    ranks = [_ranks(values) for values in (left, right)]
    centred = [rank - rank.mean() for rank in ranks]
    return float(centred[0] @ centred[1] / np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1])))


def usual(inputs: Tensors) -> dict[str, Array]:
    """Return what is usual at each place of a row: the mean of numbers (NaN left out), the most frequent value of everything else."""
    return {name: _usual(tensor) for name, tensor in inputs.items()}


def _usual(tensor: Array) -> Array:
    if tensor.dtype.kind == "f":
        known = ~np.isnan(tensor)
        counts = np.maximum(known.sum(axis=0), 1)
        return np.asarray(np.where(known, tensor, 0).sum(axis=0, dtype=np.float64) / counts).astype(tensor.dtype)
    flat = tensor.reshape(len(tensor), -1)
    most = np.empty(flat.shape[1], dtype=tensor.dtype)
    for place in range(flat.shape[1]):
        values, counts = np.unique(flat[:, place], return_counts=True)
        most[place] = values[np.argmax(counts)]
    return most.reshape(tensor.shape[1:])


def _check_scores(interface: Interface) -> None:
    rule = interface.decision
    if rule is None or (rule.kind is DecisionKind.LABEL and not rule.scores):
        raise RequirementError(
            "'explanation_agreement' cannot be measured: the model gives no scores, so no part of a row can be seen to matter.",
            hint="Use decision_flips<=n.",
        )


def _row_count(inputs: Tensors, part_count: int) -> int:
    """Return how many rows fit, each with a copy for every part."""
    row_bytes = sum(tensor.nbytes for tensor in inputs.values()) // count_rows(inputs)
    return min(max(_BYTES // max(row_bytes * (part_count + 1), 1), 1), ROW_LIMIT)


def _parts(rows: Tensors) -> Iterator[_Part]:
    """Yield the parts of a row, at most about PART_LIMIT over all inputs."""
    share = max(PART_LIMIT // len(rows), 1)
    for name, tensor in rows.items():
        shape = tensor.shape[1:]
        groups = patches(shape, _SIDE, _SIDE) if is_image(shape) else runs(shape, share)
        for number in range(int(groups.max(initial=-1)) + 1):
            yield _Part(name, groups == number)


def _hidden(rows: Tensors, background: Tensors, parts: tuple[_Part, ...]) -> dict[str, Array]:
    """Return the rows as they are, then all of them again with each part hidden in turn: (parts + 1) * rows of them."""
    everything = {}
    for name, tensor in rows.items():
        hidden = (np.where(part.mask, background[name], tensor) if part.name == name else tensor for part in parts)
        everything[name] = np.concatenate([tensor, *hidden]).astype(tensor.dtype)
    return everything


def _by_place(answers: list[dict[str, Array]], interface: Interface) -> Iterator[Tensors]:
    """Yield outputs under the candidate's names: conversion may rename outputs, but keeps their order."""
    names = [spec.name for spec in interface.outputs]
    for outputs in answers:
        yield outputs if set(outputs) == set(names) else dict(zip(names, outputs.values(), strict=True))


def _score_table(interface: Interface, outputs: Tensors, count: int) -> Array:
    """Return scores as (variants, rows, classes); one class where a number or one score is the answer."""
    rule = interface.decision
    name = (rule.scores or rule.output) if rule is not None else ""
    scores = np.asarray(outputs[name], dtype=np.float64)
    return scores.reshape(count, scores.shape[0] // count, -1)


def _decided(scores: Array) -> Array:
    """Return, for (rows, classes), the class with the largest score; NaN never wins."""
    return np.asarray(np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=-1))


def _weights(table: Array, decided: Array) -> Array:
    """Return (parts, rows): what the score of the decided class loses where the part is hidden."""
    chosen = table[:, np.arange(table.shape[1]), decided]
    return np.asarray(chosen[:1] - chosen[1:])


def _ranks(values: Array) -> Array:
    """Return ranks from 0, equal values by the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    ends = np.searchsorted(ordered, ordered, side="right")
    ranks = np.empty(len(values))
    ranks[order] = (starts + ends - 1) / 2
    return ranks
