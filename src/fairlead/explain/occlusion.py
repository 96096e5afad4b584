"""Occlusion: what the answer loses where one feature is hidden, all others being known.

Takes a Game; gives weights that do not add up (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901). A hidden feature has the values of
each background row in turn; its weight is the mean loss. Raises what the game raises.
"""

from __future__ import annotations

import numpy as np

from fairlead.explain.game import Game
from fairlead.explain.shapley import Shapley


def occlude(game: Game) -> Shapley:
    """Return the weights; they are exact for this background, so that the bounds are 0."""
    size, count = game.size, game.hiding.background_count
    ends, output = game.ends()
    keep = np.repeat(~np.eye(size, dtype=np.bool_), count, axis=0)
    hidden = game.worths(keep, np.tile(np.arange(count), size)).reshape(size, count).mean(axis=1)
    return Shapley(output - hidden, np.zeros(size), float(ends.mean()), output)
