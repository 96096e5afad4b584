"""Training: minimizes L(θ) + Ω(θ) over a network's weights, judged on held-out training rows, and keeps the best weights.

Takes a network, lessons, an objective and a schedule. Stops when the held-out loss no longer falls, in time, and when it diverges: then it
starts again once with a tenth of the learning rate. Raises DataError where that diverges too. The same seed and thread count give the same
weights, unless the time limit shortens the schedule. Never writes a file; interrupted at any time, it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fairlead.errors import DataError
from fairlead.optimize.training.adam import Adam
from fairlead.optimize.training.deadline import Deadline
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.objective import Objective

_JUDGED_ROWS = 256  # of the held-out rows at once
_TIMED_STEPS = 5  # after which the schedule is fitted into the time that is left
_LEAST_BATCH_ROWS, _WANTED_STEPS = 16, 50  # few rows make small batches, so that an epoch has steps enough
_RISE, _FAR = 4.0, 10.0  # times the first held-out loss, and more than guessing costs: training goes the wrong way
_CLIP = 5.0  # the gradient's largest norm
_REPORT_S = 1.0


def _unchanged(_progress: float) -> None:
    """Do nothing."""


def _nothing(_network: Network) -> None:
    """No Ω."""


@dataclass(frozen=True)
class Schedule:
    """`epoch_count` epochs over the rows in batches; the learning rate falls along a cosine. `patience` epochs may bring nothing.

    `penalty` is Ω(θ) of a network; `after_step` is called with the progress from 0 to 1. `judge_from` is the progress from which weights
    may be kept: those before are not yet of the wanted form.
    """

    epoch_count: int
    learning_rate: float = 2e-3
    batch_rows: int = 64
    patience: int = 8
    penalty: Callable[[Network], Tensor | None] = _nothing
    after_step: Callable[[float], None] = _unchanged
    judge_from: float = 0.0


@dataclass(frozen=True)
class Fit:
    """What training did: held-out losses before and after, epochs, seconds, and a sentence for everything out of the ordinary."""

    first_loss: float
    best_loss: float
    epoch_count: int
    seconds: float
    notes: tuple[str, ...] = ()


class _DivergedError(Exception):
    """The loss is no number any more, or has risen too far."""


def fit(
    network: Network,
    lessons: Lessons,
    objective: Objective,
    schedule: Schedule,
    *,
    deadline: Deadline,
    seed: int,
    report: Callable[[str], None],
) -> Fit:
    """Train `network` in place and return what happened; its weights are the best that were seen."""
    run = _Run(network, lessons, objective, schedule, deadline, report)
    start = network.state()
    try:
        return run.train(seed)
    except _DivergedError as first:
        report(f"training diverged ({first}); again with a tenth of the learning rate")
    network.restore(start)
    schedule.after_step(0.0)
    slower = replace(schedule, learning_rate=schedule.learning_rate / 10)
    try:
        result = _Run(network, lessons, objective, slower, deadline, report).train(seed)
    except _DivergedError as second:
        network.restore(start)
        raise DataError(
            f"Training diverges ({second}), even with a learning rate of {slower.learning_rate:.3g}.",
            hint="Look at the training rows: are they scaled, and labelled, as those that the model was trained on?",
        ) from None
    return replace(
        result, notes=(*result.notes, f"training diverged at first, and was repeated with the learning rate {slower.learning_rate:.3g}")
    )


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with `count` threads, and as before afterwards. The smallest numbers (below 1e-38) count as 0 meanwhile:
    processors take a hundred times as long for them, and the averages of gradients that are 0 end there.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


@dataclass
class _Best:
    """The least loss on held-out rows, the weights that gave it, and how many looks brought nothing since."""

    loss: float = math.inf
    state: dict[str, Tensor] | None = None
    waited: int = 0

    def offer(self, loss: float, network: Network) -> None:
        """Keep the weights of now where they are better."""
        self.waited += 1
        if loss < self.loss:
            self.loss, self.state, self.waited = loss, network.state(), 0


def _check_loss(first: float, now: float) -> None:
    """Raise _DivergedError where the loss on held-out rows is no number, or has risen too far."""
    if not math.isfinite(now) or now > max(_RISE * first, _FAR):
        raise _DivergedError(f"the loss on held-out rows went from {first:.3g} to {now:.3g}")


class _Run:
    """One attempt."""

    def __init__(
        self,
        network: Network,
        lessons: Lessons,
        objective: Objective,
        schedule: Schedule,
        deadline: Deadline,
        report: Callable[[str], None],
    ) -> None:
        self._network, self._lessons, self._objective = network, lessons, objective
        self._schedule, self._deadline, self._report = schedule, deadline, report
        rows = len(lessons.learned)
        self._batch_rows = max(2, min(schedule.batch_rows, max(_LEAST_BATCH_ROWS, rows // _WANTED_STEPS), rows // 4))
        self._per_epoch = max(1, len(lessons.learned) // self._batch_rows)
        self._total = self._per_epoch * schedule.epoch_count
        self._step = 0
        self._notes: list[str] = []

    def train(self, seed: int) -> Fit:
        """Run the schedule; raises _DivergedError where nothing came of it."""
        started = time.monotonic()
        optimizer = Adam(list(self._network.parameters.values()))
        generator = torch.Generator().manual_seed(seed)
        first = last = self._judge()
        best = _Best(first, self._network.state()) if self._schedule.judge_from <= 0 else _Best()
        epoch, reported = 0, started
        try:
            while self._step < self._total and not self._deadline.is_over() and best.waited < self._schedule.patience:
                self._epoch(optimizer, generator)
                epoch += 1
                last = self._judge()
                _check_loss(first, last)
                if self._step >= self._schedule.judge_from * self._total:
                    best.offer(last, self._network)
                if time.monotonic() - reported >= _REPORT_S:
                    reported = time.monotonic()
                    self._report(f"epoch {epoch} of {-(-self._total // self._per_epoch)}: loss on held-out rows {last:.4g}")
        except _DivergedError:
            if best.loss >= first:
                raise
            self._notes.append(f"training diverged after {epoch} epochs; the best weights before are kept")
        if best.state is None:
            best.offer(last, self._network)
        self._network.restore(best.state or {})
        return Fit(first, best.loss, epoch, time.monotonic() - started, tuple(self._notes))

    def _epoch(self, optimizer: Adam, generator: torch.Generator) -> None:
        learned = self._lessons.learned
        order = learned[torch.randperm(len(learned), generator=generator)]
        started, first_step = time.monotonic(), self._step
        self._network.is_training = True
        try:
            for start in range(0, self._per_epoch * self._batch_rows, self._batch_rows):
                if self._step >= self._total or self._deadline.is_over():
                    return
                self._learn(order[start : start + self._batch_rows], optimizer)
                if self._step == first_step + _TIMED_STEPS:
                    self._fit_into_time((time.monotonic() - started) / _TIMED_STEPS)
        finally:
            self._network.is_training = False

    def _learn(self, rows: Tensor, optimizer: Adam) -> None:
        rate = 0.5 * self._schedule.learning_rate * (1 + math.cos(math.pi * min(1.0, self._step / self._total)))
        inputs, teacher, target = self._lessons.batch(rows)
        loss = self._objective.loss(self._network.forward(inputs, self._objective.wanted), teacher, target)
        penalty = self._schedule.penalty(self._network)
        total = loss if penalty is None else loss + penalty
        if not math.isfinite(float(total.detach())):
            raise _DivergedError(f"the loss became {float(total.detach())}")
        optimizer.forget_gradients()
        total.backward()  # type: ignore[no-untyped-call] # so PyTorch declares it
        optimizer.step(rate, _CLIP)
        self._step += 1
        self._schedule.after_step(self._step / self._total)

    def _fit_into_time(self, step_s: float) -> None:
        """Shorten the schedule to what the time allows, so that the learning rate still falls to its end."""
        left = self._deadline.left_s()
        possible = math.inf if math.isinf(left) else self._step + int(0.85 * left / max(step_s, 1e-9))
        if possible < self._total:
            if not self._notes:
                self._notes.append(f"the time limit shortened training from {self._schedule.epoch_count} epochs")
            self._total = max(self._step + 1, int(possible))

    def _judge(self) -> float:
        total, rows = 0.0, self._lessons.held_out
        with torch.no_grad():
            for start in range(0, len(rows), _JUDGED_ROWS):
                part = rows[start : start + _JUDGED_ROWS]
                inputs, teacher, target = self._lessons.batch(part)
                values = self._network.forward(inputs, self._objective.wanted)
                total += float(self._objective.loss(values, teacher, target)) * len(part)
        return total / len(rows)
