"""The engine that runs an ensemble: its members by their own engines, one step after the other, in this process and without copies.

Takes the file of an Ensemble, with the members' files beside it, and its interface; gives an `Engine`. Raises what opening a member raises,
CorruptError for a file that is no ensemble, and what a member raises for rows: the message says at which step. A step that no requested
output needs is not run. It never changes what a member gave: two steps may take the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from fairlead.core.ensemble import COMBINED, REQUEST, Ensemble, EnsembleStep, Member, Source, StepKind
from fairlead.core.ensemble_deciding import class_array, majority, votes
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.engines.opening import has_processes, open_engine
from fairlead.errors import CorruptError, FairleadError, UnavailableError
from fairlead.typed_json import decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairlead.core.ports import Engine, Sandbox

MAIN = "ensemble.json"


class _Call(NamedTuple):
    """A step made ready: `takes` and `gives` are places among the tensors of one request. `run` is the member's, or what combines."""

    name: str
    takes: tuple[tuple[str, int], ...]
    gives: tuple[tuple[str, int], ...]
    where: str
    step: EnsembleStep
    run: Callable[[dict[str, Array]], Mapping[str, Array]]


class EnsembleEngine:
    """Runs one ensemble. Safe to call from several threads, as its members are.

    `needs_sandbox` says whether a member runs in a process of its own; of the class, that it has to be given a sandbox for such members.
    """

    needs_sandbox: bool = True

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1, sandbox: Sandbox | None = None) -> None:
        del thread_count  # each member's own is part of what was proven
        self._interface, self._path = interface, path
        self.ensemble = read_ensemble(path)
        with ExitStack() as undo:
            self._engines: tuple[Engine, ...] = ()
            for member in self.ensemble.members:
                with _named(f"Member {member.version}"):
                    engine = open_engine(
                        member.engine,
                        _beside(path, member),
                        member.interface,
                        thread_count=member.thread_count,
                        sandbox=sandbox,
                        session=member.session,
                    )
                undo.callback(engine.close)
                self._engines = (*self._engines, engine)
            self._places = _places(self.ensemble, interface)
            self._input_places = {spec.name: place for place, spec in enumerate(interface.inputs)}
            self._output_places = {spec.name: self._places[self.ensemble.outputs[spec.name]] for spec in interface.outputs}
            self._calls = tuple(self._call(step) for step in self.ensemble.steps)
            undo.pop_all()
        self.needs_sandbox = any(getattr(engine, "needs_sandbox", False) for engine in self._engines)
        self._plans: dict[tuple[str, ...], tuple[_Call, ...]] = {}
        self._is_closed = False

    @staticmethod
    def has_processes(path: Path) -> bool:
        """Return whether a member of the ensemble at `path` runs in a process of its own."""
        return any(has_processes(member.engine, _beside(path, member)) for member in read_ensemble(path).members)

    @property
    def interface(self) -> Interface:
        """What the whole takes and gives."""
        return self._interface

    @property
    def members(self) -> tuple[tuple[Member, Path, Engine], ...]:
        """Each member with its main file and the engine that runs it."""
        paths = [_beside(self._path, member) for member in self.ensemble.members]
        return tuple(zip(self.ensemble.members, paths, self._engines, strict=True))

    @property
    def description(self) -> str:
        """What runs the members, with versions."""
        kinds = ", ".join(dict.fromkeys(engine.description for engine in self._engines))
        return f"{kinds}, ensemble of {len(self._engines)}"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        if self._is_closed:
            raise UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving.")
        self._interface.check_inputs(inputs)
        values = self._flow(inputs, outputs)
        places = self._output_places
        return {name: values[places[name]] for name in outputs or places}

    def flow(self, inputs: Tensors) -> list[dict[str, Array]]:
        """Return what each member takes for `inputs`, where it is first asked: for measuring members one by one."""
        values = self._flow(inputs, ())
        calls = [next(call for call in self._calls if call.step.member == number) for number in range(len(self._engines))]
        return [{name: values[place] for name, place in call.takes} for call in calls]

    def close(self) -> None:
        """Give back what the members hold. Idempotent."""
        self._is_closed = True
        for engine in self._engines:
            engine.close()

    def _flow(self, inputs: Tensors, outputs: Sequence[str]) -> list[Any]:
        """Return every tensor of one request by its place."""
        values: list[Any] = [None] * len(self._places)
        for name, tensor in inputs.items():
            values[self._input_places[name]] = tensor
        for call in self._calls if not outputs else self._plan(tuple(outputs)):
            try:
                answers = call.run({name: values[place] for name, place in call.takes})
            except FairleadError as error:
                error.message = f"{call.where}: {error.message}"
                raise
            for name, place in call.gives:
                values[place] = answers[name]
        return values

    def _plan(self, outputs: tuple[str, ...]) -> tuple[_Call, ...]:
        """Return the steps that these outputs need, in order."""
        plan = self._plans.get(outputs)
        if plan is None:
            needed = {self.ensemble.outputs[self._interface.output(name).name].step for name in outputs}
            for call in reversed(self._calls):
                if call.name in needed:
                    needed |= {source.step for source in call.step.inputs.values()}
            plan = tuple(call for call in self._calls if call.name in needed)
            self._plans[outputs] = plan
        return plan

    def _call(self, step: EnsembleStep) -> _Call:
        takes = tuple((name, self._places[source]) for name, source in step.inputs.items())
        gives = tuple((source.output, place) for source, place in self._places.items() if source.step == step.name)
        member = self.ensemble.member_of(step)
        if member is not None:
            return _Call(step.name, takes, gives, f"Step '{step.name}' ({member.version})", step, self._engines[step.member].run)
        where = f"Step '{step.name}'"
        combine, output = _combining(step), COMBINED[step.kind.value]
        return _Call(step.name, takes, gives, where, step, lambda tensors: {output: combine(list(tensors.values()))})


def read_ensemble(path: Path) -> Ensemble:
    """Return the ensemble in the file at `path`; raises CorruptError."""
    try:
        return decoder(Ensemble).decode(path.read_bytes())
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptError(f"'{path.name}' is no ensemble: {error}.", hint="The registry's files were changed.") from error


def _beside(path: Path, member: Member) -> Path:
    """Return the member's main file. An ensemble that is itself a member has a prefix, which its members' files have before their own."""
    return path.parent / f"{path.name.removesuffix(MAIN)}{member.file}"


def _places(ensemble: Ensemble, interface: Interface) -> dict[Source, int]:
    """Return a place for every tensor that may flow in one request."""
    sources = [Source(REQUEST, spec.name) for spec in interface.inputs]
    for step in ensemble.steps:
        member = ensemble.member_of(step)
        names = [COMBINED[step.kind.value]] if member is None else [spec.name for spec in member.interface.outputs]
        sources += [Source(step.name, name) for name in names]
    return {source: place for place, source in enumerate(sources)}


def _combining(step: EnsembleStep) -> Callable[[Sequence[Array]], Array]:
    """Return what the step does to the tensors that it takes, with everything made ready that does not depend on them."""
    if step.kind is StepKind.CONCAT:
        return lambda tensors: np.concatenate(tensors, axis=1)
    if step.kind is StepKind.AVERAGE:

        def mean(tensors: Sequence[Array]) -> Array:
            if any(tensor.shape != tensors[0].shape for tensor in tensors):
                shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
                raise CorruptError(f"What it averages has the shapes {shapes}.", hint="Wire models that give one shape.")
            return average(tensors, step.weights)

        return mean
    rules = [Interface((), (), decision=rule) for rule in step.rules]
    known = class_array(step.classes)

    def vote(tensors: Sequence[Array]) -> Array:
        ballots = [votes(rule, tensor, step.classes) for rule, tensor in zip(rules, tensors, strict=True)]
        if any((ballot == -1).any() for ballot in ballots):
            raise CorruptError("A model decided for a label that it is not known to have.", hint="Verify that model again.")
        return majority(ballots, step.weights, known)

    return vote


def average(tensors: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return sum(w * x) / sum(w), in FP64 and in the order of `tensors`, rounded once to their own type."""
    total = np.zeros(tensors[0].shape, np.float64)
    for tensor, weight in zip(tensors, weights or [1.0] * len(tensors), strict=True):
        total += tensor.astype(np.float64) * weight
    return np.asarray(total / (sum(weights) if weights else len(tensors)), dtype=tensors[0].dtype)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except FairleadError as error:
        error.message = f"{where}: {error.message}"
        raise
