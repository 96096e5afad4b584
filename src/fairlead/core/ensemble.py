"""A small graph of registered models as one model: steps that run members or combine what they gave, and what flows between them.

Pure values. Law: a step takes only what the request brings or what steps before it gave, so the steps of an `Ensemble` run in their order.
Made by `core.ensemble_wiring`, which checks that everything fits.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import Decision, Interface, Label

REQUEST = "input"  # what a source is written with that the request brings: input.x
COMBINED = {"average": "value", "vote": "label", "concat": "value"}  # the one output of each built-in step


class StepKind(enum.StrEnum):
    """What a step does."""

    MODEL = "model"  # runs a member
    AVERAGE = "average"  # the mean of equal tensors, weighted where there are weights; computed in FP64
    VOTE = "vote"  # the class that most decide for; of several, the one that comes first among the labels
    CONCAT = "concat"  # tables (rows, n) side by side


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: `output` of the step `step`, or of the request where that is REQUEST."""

    step: str
    output: str

    def __str__(self) -> str:
        return f"{self.step}.{self.output}"


@dataclass(frozen=True)
class Member:
    """A registered version, pinned by digest. `file` is the main file of its form, beside the ensemble's own; `engine` runs it
    with the settings of `session`.
    """

    version: str
    digest: str
    interface: Interface = field(repr=False)
    engine: str
    file: str
    thread_count: int = 1
    session: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnsembleStep:
    """One node. `inputs` maps the member's inputs to their sources; for the other kinds, "0", "1", ... in their order.

    `member` is the place in `Ensemble.members`, -1 for the other kinds; `weights` are as many as inputs, or none. Of a vote,
    `rules` say how each input decides, and `classes` between what.
    """

    name: str
    kind: StepKind
    inputs: Mapping[str, Source]
    member: int = -1
    weights: tuple[float, ...] = ()
    rules: tuple[Decision, ...] = ()
    classes: tuple[Label, ...] = ()


@dataclass(frozen=True)
class Ensemble:
    """`outputs` maps what the whole gives to where it comes from."""

    members: tuple[Member, ...]
    steps: tuple[EnsembleStep, ...]
    outputs: Mapping[str, Source]

    def member_of(self, step: EnsembleStep) -> Member | None:
        """Return the member that `step` runs, None for a step that combines."""
        return self.members[step.member] if step.kind is StepKind.MODEL else None

    def describe(self) -> tuple[str, ...]:
        """Return a line for each step and each output, for a person."""
        lines = []
        for step in self.steps:
            member = self.member_of(step)
            if member is not None:
                takes = ", ".join(f"{name} = {source}" for name, source in step.inputs.items())
                lines.append(f"{step.name}: {member.version} ({takes})")
            else:
                weights = f", weights {', '.join(f'{weight:g}' for weight in step.weights)}" if step.weights else ""
                lines.append(f"{step.name}: {step.kind.value} of {', '.join(map(str, step.inputs.values()))}{weights}")
        return (*lines, *(f"{name} = {source}" for name, source in self.outputs.items()))
