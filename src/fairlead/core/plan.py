"""A plan: candidates in the order in which they are worth trying, each with its reason. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.core.engine_choice import EngineChoice
from fairlead.core.pass_use import PassUse, parse_pass
from fairlead.core.requirement import Requirement
from fairlead.core.target import Target


@dataclass(frozen=True)
class Candidate:
    """One way to deploy: passes to apply in order (each as `PassUse` writes it), the form that the result is brought into (a RuntimeForm),
    the engine that runs it and its threads. `session` are settings of that engine, each "name=value"; what is not said is its default.
    """

    name: str
    passes: tuple[str, ...]
    engine: str
    thread_count: int
    reason: str
    form: str = "onnx"
    session: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[PassUse, ...]:
        """The passes with their settings."""
        return tuple(parse_pass(text) for text in self.passes)


@dataclass(frozen=True)
class Plan:
    """What will be tried, for which requirements, on which target. `refused` are (name, reason) of those ruled out beforehand; `choice`
    is what timing the engines gave, once that was done.
    """

    requirements: tuple[Requirement, ...]
    target: Target
    candidates: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...] = ()
    choice: EngineChoice | None = None
