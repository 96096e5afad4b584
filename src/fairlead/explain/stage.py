"""Step 9: why this answer. For each row, what each feature adds to the answer, with how sure that is.

Takes an ExplainJob: an engine, rows, background rows, and the trees or the gradient where the model has them. Gives core Explanations.
Raises UnsupportedError for a model whose answers are no numbers, DataError where it answers NaN, DeadlineError where the time is too short
for an estimate, CorruptError where trees or gradient do not give what the engine gives. Reads no clock but the one that it is handed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Explanation, Method, Subject
from fairlead.core.interface import Array, Label, Tensors
from fairlead.errors import DeadlineError, RequestError, UnsupportedError
from fairlead.explain.explain_job import ExplainJob
from fairlead.explain.game import Game
from fairlead.explain.gradients import PIXEL_SIDE, integrated_gradients
from fairlead.explain.hiding import FEW_WORDS, TensorHiding, TextHiding, hiding_of, layout_of, text_input, text_of
from fairlead.explain.occlusion import occlude
from fairlead.explain.shapley import Budget, Shapley, can_enumerate, enumerate_shapley, sample_shapley, too_short
from fairlead.explain.subject import subjects
from fairlead.explain.tree_rows import explain_by_trees

_ENUMERATED_SHARE = 0.5  # of a row's time that trying every set may be expected to take
_TRIED, _ENOUGH_PAIRS = 64, 32  # rows that show how fast the model is; pairs of orders after which bounds are narrow


def explain(job: ExplainJob) -> tuple[Explanation, ...]:
    """Return an explanation of each row, in order."""
    count = job.engine.interface.check_inputs(job.rows)
    outputs = job.engine.run(job.rows)
    decisions = labelled(job.engine.interface, outputs)
    if job.trees is not None and job.method in (None, Method.TREES):
        return explain_by_trees(job, job.trees, outputs, [_label(one) for one in decisions])
    if job.method is Method.TREES:
        raise UnsupportedError("The model is no tree ensemble, or not one alone.", hint="Leave --method out.")
    found = subjects(job.engine.interface, outputs, job.of)
    deadline = job.clock() + job.budget_s
    return tuple(_explain_rows(job, count, found, decisions, deadline))


def _explain_rows(job: ExplainJob, count: int, found: tuple[Subject, ...], decisions: Array, deadline: float) -> Iterator[Explanation]:
    for place in range(count):
        row = {name: tensor[place : place + 1] for name, tensor in job.rows.items()}
        now = job.clock()
        until = now + (deadline - now) / (count - place)
        explained = _explain_row(job, row, found[place], until)
        yield replace(explained, row=place, decision=_label(decisions[place]), seconds=job.clock() - now)


def _explain_row(job: ExplainJob, row: Tensors, subject: Subject, until: float) -> Explanation:
    method = job.method
    if method is Method.GRADIENTS:
        return _by_gradients(job, row, subject)
    hiding = hiding_of(job.engine.interface, row, job.background)
    began = job.clock()

    def check() -> None:
        if job.clock() > until:
            raise too_short(until - began)

    game = Game(job.engine, hiding, subject, check, job.piece_rows)
    if isinstance(hiding, TextHiding) and len(hiding.words) > FEW_WORDS and not _has_time(job, game, until):
        game.hiding = text_of(job.engine.interface, row, job.background) or hiding
    if method is Method.OCCLUSION:
        found = occlude(game)
    elif method is Method.ENUMERATED or (method is None and can_enumerate(game) and _is_quick(job, game, until)):
        if not can_enumerate(game, 2**22):
            raise RequestError(f"There are too many sets of {game.size} features to try them all.", hint="Leave --method out.")
        method, found = Method.ENUMERATED, enumerate_shapley(game)
    else:
        method = Method.SAMPLED
        game.check = lambda: None  # it looks at the time itself, and keeps what it has
        found = sample_shapley(game, Budget(job.clock, until, job.pair_limit), job.seed)
    return _told(game, method, found)


def _is_quick(job: ExplainJob, game: Game, until: float) -> bool:
    """Whether trying every set fits the time, judged by the rows that have to be asked anyway."""
    if math.isinf(until):
        return True
    began = job.clock()
    try:
        game.ends()
    except DeadlineError:
        return False
    rows = game.hiding.background_count << game.size
    now = job.clock()
    return (now - began) * rows / (game.hiding.background_count + 1) < _ENUMERATED_SHARE * (until - now)


def _has_time(job: ExplainJob, game: Game, until: float) -> bool:
    """Whether each word of a long text can be one by itself, judged by some rows that are asked for nothing else."""
    if math.isinf(until):
        return True
    began = job.clock()
    try:
        game.worths(np.random.default_rng(job.seed).random((_TRIED, game.size)) < 0.5, np.zeros(_TRIED, dtype=np.int64))
    except DeadlineError:
        return False
    now = job.clock()
    return (now - began) / _TRIED * 2 * game.size * _ENOUGH_PAIRS < _ENUMERATED_SHARE * (until - now)


def _by_gradients(job: ExplainJob, row: Tensors, subject: Subject) -> Explanation:
    interface = job.engine.interface
    if job.gradient is None:
        raise UnsupportedError(
            "There is no gradient of this model: it is no network of float32 weights that PyTorch can follow.",
            hint="Leave --method out, or install the extra: pip install 'fairlead[torch]'.",
        )
    if text_input(interface, row) is not None or any(tensor.dtype.kind != "f" for tensor in row.values()):
        raise UnsupportedError("There is no gradient for texts and whole numbers.", hint="Leave --method out.")
    layout = layout_of(interface, row, side=PIXEL_SIDE)
    hiding = TensorHiding(layout, row, job.background)
    game = Game(job.engine, hiding, subject, piece_rows=job.piece_rows)
    found = integrated_gradients(game, hiding, job.gradient)
    return replace(_told(game, Method.GRADIENTS, found.values), notes=found.notes)


def _told(game: Game, method: Method, found: Shapley) -> Explanation:
    hiding = game.hiding
    return Explanation(
        row=0,
        decision=None,
        subject=game.subject,
        method=method,
        features=hiding.features,
        given=hiding.given,
        weights=tuple(found.weights.tolist()),
        bounds=tuple(found.bounds.tolist()),
        base=found.base,
        output=found.output,
        background_count=0 if isinstance(hiding, TextHiding) else hiding.background_count,
        asked_rows=game.asked_rows,
        seconds=0.0,
        grid=hiding.grid,
        text=hiding.words if isinstance(hiding, TextHiding) else (),
    )


def _label(value: object) -> Label | None:
    """Return a decision as a plain value; None where there is none, or more than one."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float | bool) else None
