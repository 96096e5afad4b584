"""Integrated gradients: the slope of the answer along the way from the usual row to this one.

Takes a game and a gradient; gives a weight per feature (Sundararajan, Taly and Yan 2017, https://arxiv.org/abs/1703.01365). The way
begins at the mean of the background rows. The integral is taken by Gauss-Legendre quadrature, with twice as many points until the weights
add up to the difference of both answers; how far they are off is their bound. Raises CorruptError where the gradient's answer is not the
engine's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import CorruptError
from fairlead.explain.explain_job import Gradient
from fairlead.explain.game import Game
from fairlead.explain.hiding import TensorHiding
from fairlead.explain.shapley import Shapley

PIXEL_SIDE = 28  # patches along each side of an image: gradients are cheap, so that they may be small
_POINTS = (16, 32, 64, 128, 256)
_CLOSE = 1e-3  # of the difference of both answers
_SAME = 1e-3  # largest difference of gradient and engine, relative above 1


@dataclass(frozen=True)
class Integrated:
    """The weights, and what a person should know of them."""

    values: Shapley
    notes: tuple[str, ...]


def integrated_gradients(game: Game, hiding: TensorHiding, gradient: Gradient) -> Integrated:
    """Return the weights of the features of `hiding`."""
    start = {name: rows.mean(axis=0, keepdims=True, dtype=np.float64) for name, rows in hiding.background.items()}
    way = {name: row.astype(np.float64) - start[name] for name, row in hiding.row.items()}
    answers = _answers(game, hiding, gradient, start)
    base, output = float(answers[0]), float(answers[1])
    notes: tuple[str, ...] = ()
    for count in _POINTS:
        weights = _weights(game, hiding, gradient, start, way, count)
        gap = abs(output - base - float(weights.sum()))
        if gap <= _CLOSE * max(abs(output - base), _CLOSE):
            break
    else:
        notes = (f"The weights add up but for {gap:.3g}: the answer is too uneven along the way for {_POINTS[-1]} points.",)
    return Integrated(Shapley(weights, np.full(len(weights), gap), base, output), notes)


def _answers(game: Game, hiding: TensorHiding, gradient: Gradient, start: dict[str, Array]) -> Array:
    """Return the answers at both ends; raises CorruptError unless the gradient's are the engine's."""
    ends = {name: np.concatenate([start[name].astype(row.dtype), row]) for name, row in hiding.row.items()}
    theirs, _ = gradient(ends, game.subject)
    two = TensorHiding(hiding.layout, {name: row[1:] for name, row in ends.items()}, {name: row[:1] for name, row in ends.items()})
    background, own = Game(game.engine, two, game.subject).ends()
    answers = np.array([float(background[0]), own])
    game.asked_rows += 2
    if (np.abs(theirs - answers) > _SAME * np.maximum(np.abs(answers), 1.0)).any():
        raise CorruptError(
            "The network that the gradient is taken of does not answer as the engine does.", hint="Explain it without: leave --method out."
        )
    return answers


def _weights(game: Game, hiding: TensorHiding, gradient: Gradient, start: dict[str, Array], way: dict[str, Array], count: int) -> Array:
    """Return the weights by `count` points."""
    nodes, shares = np.polynomial.legendre.leggauss(count)
    weights = np.zeros(game.size)
    step = max(min(game.piece_rows, 64), 1)
    for place in range(0, count, step):
        at, share = (nodes[place : place + step] + 1) / 2, shares[place : place + step] / 2
        points = {
            name: (start[name] + at.reshape(-1, *[1] * (way[name].ndim - 1)) * way[name]).astype(row.dtype)
            for name, row in hiding.row.items()
        }
        _, slopes = gradient(points, game.subject)
        for name, groups in hiding.layout.groups.items():
            flow = np.tensordot(share, slopes[name].astype(np.float64), axes=1) * way[name][0]
            weights += np.bincount(np.ravel(groups), np.ravel(flow), game.size)
    return weights
