"""From the steps that a person wrote to an Ensemble that fits together, and the interface that follows from it. Pure.

Takes drafts (steps whose wires are text such as `scale.y` or `input.x`) and the members' interfaces; gives the Ensemble, its steps in an
order in which they can run, and the Interface: inputs are what the steps take from the request, decision and labels those of the member
that decides. Raises SpecError that names the step, the input and the nearest right name.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.core.ensemble import COMBINED, REQUEST, Ensemble, EnsembleStep, Member, Source, StepKind
from fairlead.core.ensemble_deciding import combined_rule, vote_spec
from fairlead.core.interface import Decision, DecisionKind, Interface, Label, Task, TensorSpec, shorten
from fairlead.errors import SpecError

_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")


@dataclass(frozen=True)
class Draft:
    """A step as written: `wires` are the sources by the member's input, or by "0", "1", ... for a step that combines."""

    name: str
    kind: StepKind
    wires: Mapping[str, str]
    member: int = -1
    weights: tuple[float, ...] = ()


def wire(
    drafts: Sequence[Draft], outputs: Mapping[str, str], members: Sequence[Member], *, decision: str = ""
) -> tuple[Ensemble, Interface]:
    """Return the ensemble and its interface. `decision` names the output that decides where several could ("" elsewhere)."""
    if not drafts:
        raise SpecError(
            "The ensemble has no steps.", hint="Each step names a model: steps: {scale: {model: scaler, inputs: {x: input.x}}}."
        )
    if not outputs:
        raise SpecError("The ensemble gives nothing.", hint="Name what it gives: outputs: {scores: net.scores}.")
    for draft in drafts:
        _check_draft(draft, members)
    board = _Board(drafts, members)
    steps = tuple(board.place(draft) for draft in _in_order(drafts, board))
    given = {name: board.source(text, f"Output '{shorten(name)}'") for name, text in outputs.items()}
    _check_all_used(steps, given)
    specs = tuple(replace(board.spec_of(source, f"Output '{name}'"), name=name, columns=()) for name, source in given.items())
    ensemble = Ensemble(tuple(members), steps, given)
    decided = _decide(given, board, decision)
    return ensemble, replace(decided, inputs=tuple(board.requested.values()), outputs=specs)


@dataclass
class _Board:
    """What is known while steps are placed: specs and rules of what each gave, and what was asked of the request."""

    drafts: Sequence[Draft]
    members: Sequence[Member]
    given: dict[Source, TensorSpec] = field(default_factory=dict)
    rules: dict[Source, Interface] = field(default_factory=dict)
    scored: dict[Source, Interface] = field(default_factory=dict)  # scores beside a label: an average of them decides by the largest
    requested: dict[str, TensorSpec] = field(default_factory=dict)

    def source(self, text: str, where: str) -> Source:
        """Return what `text` names: `input.x`, `step.output`, or `step` alone where it gives one thing only."""
        step, dot, output = text.partition(".")
        if step == REQUEST and dot and output:
            return Source(REQUEST, output)
        draft = next((draft for draft in self.drafts if draft.name == step), None)
        if draft is None:
            names = [REQUEST, *(draft.name for draft in self.drafts)]
            raise SpecError(f"{where} takes '{shorten(text)}', but there is no step '{shorten(step)}'.", hint=_nearest(step, names))
        offered = self.outputs_of(draft)
        if not dot and len(offered) == 1:
            return Source(step, offered[0])
        if output not in offered:
            raise SpecError(
                f"{where} takes '{shorten(text)}', but step '{step}' gives no '{shorten(output)}'.", hint=_nearest(output, offered)
            )
        return Source(step, output)

    def outputs_of(self, draft: Draft) -> list[str]:
        if draft.kind is StepKind.MODEL:
            return [spec.name for spec in self.members[draft.member].interface.outputs]
        return [COMBINED[draft.kind.value]]

    def spec_of(self, source: Source, where: str) -> TensorSpec:
        """Return what flows there; of the request, only what a model takes is known."""
        if source.step == REQUEST:
            if source.output not in self.requested:
                raise SpecError(f"{where} takes '{source}', which no model takes: its type is not known.", hint="Wire it to a model too.")
            return self.requested[source.output]
        return self.given[source]

    def place(self, draft: Draft) -> EnsembleStep:
        """Check what the step takes against what flows there, note what it gives, and return it."""
        where = f"Step '{draft.name}'"
        inputs = {name: self.source(text, where) for name, text in draft.wires.items()}
        step = EnsembleStep(draft.name, draft.kind, inputs, draft.member, draft.weights)
        if draft.kind is StepKind.MODEL:
            self._place_model(step, self.members[draft.member])
            return step
        sources = list(inputs.values())
        specs = [self.spec_of(source, where) for source in sources]
        rules = [self.rules.get(source) for source in sources]
        result = Source(draft.name, COMBINED[draft.kind.value])
        if draft.kind is StepKind.CONCAT:
            self.given[result] = _concat_spec(specs, sources, where)
        elif draft.kind is StepKind.AVERAGE:
            self.given[result] = _average_spec(specs, sources, where)
            rule = combined_rule([self.rules.get(source) or self.scored.get(source) for source in sources], result.output)
            if rule is not None:
                self.rules[result] = rule
        else:
            self.given[result], rule = vote_spec(specs, rules, sources, where)
            self.rules[result] = rule
            decisions = tuple(one.decision for one in rules if one is not None and one.decision is not None)
            step = replace(step, rules=decisions, classes=rule.labels)
        return step

    def _place_model(self, step: EnsembleStep, member: Member) -> None:
        for name, source in step.inputs.items():
            wanted = member.interface.input(name)
            where = f"Step '{step.name}': input '{name}' of {member.version}"
            if source.step == REQUEST:
                known = self.requested.get(source.output)
                asked = replace(wanted, name=source.output)
                self.requested[source.output] = asked if known is None else _both(known, asked, where)
            else:
                _check_fits(self.given[source], wanted, where, source)
        for spec in member.interface.outputs:
            self.given[Source(step.name, spec.name)] = spec
        rule = member.interface.decision
        if rule is not None:
            self.rules[Source(step.name, rule.output)] = member.interface
        if rule is not None and rule.kind is DecisionKind.LABEL and rule.scores and member.interface.labels:
            largest = Decision(DecisionKind.ARGMAX, rule.scores, scores=rule.scores)
            self.scored[Source(step.name, rule.scores)] = replace(member.interface, decision=largest)


def _check_draft(draft: Draft, members: Sequence[Member]) -> None:
    where = f"Step '{shorten(draft.name)}'"
    if not _NAME.fullmatch(draft.name) or draft.name == REQUEST:
        raise SpecError(
            f"'{shorten(draft.name)}' cannot name a step.", hint=f"Use lower-case letters, digits, '_' and '-'; '{REQUEST}' is the request."
        )
    if draft.weights and (len(draft.weights) != len(draft.wires) or not all(math.isfinite(one) and one > 0 for one in draft.weights)):
        raise SpecError(
            f"{where} needs one weight above 0 for each of its {len(draft.wires)} inputs.", hint="Leave out what has no weight."
        )
    if draft.kind is not StepKind.MODEL:
        if not draft.wires:
            raise SpecError(f"{where} combines nothing.", hint=f"List what it takes: {draft.kind.value}: [a.scores, b.scores].")
        return
    member = members[draft.member]
    wanted = [spec.name for spec in member.interface.inputs]
    for name in draft.wires:
        if name not in wanted:
            raise SpecError(f"{where}: {member.version} has no input '{shorten(name)}'.", hint=_nearest(name, wanted))
    missing = [name for name in wanted if name not in draft.wires]
    if missing:
        example = f"inputs: {{{missing[0]}: {REQUEST}.{missing[0]}}}"
        raise SpecError(f"{where}: input '{missing[0]}' of {member.version} is not wired.", hint=f"Say where it comes from: {example}.")


def _in_order(drafts: Sequence[Draft], board: _Board) -> list[Draft]:
    """Return the steps so that each comes after those that it takes from, else as written."""
    waiting = {draft.name: draft for draft in drafts}
    if len(waiting) != len(drafts):
        raise SpecError("Two steps have the same name.", hint="Give each its own.")
    needs = {draft.name: {board.source(text, f"Step '{draft.name}'").step for text in draft.wires.values()} - {REQUEST} for draft in drafts}
    order: list[Draft] = []
    while waiting:
        ready = next((draft for draft in waiting.values() if not needs[draft.name] & waiting.keys()), None)
        if ready is None:
            raise SpecError(f"The steps wait for each other: {' -> '.join(_circle(needs, waiting))}.", hint="Cut the circle.")
        order.append(waiting.pop(ready.name))
    return order


def _circle(needs: Mapping[str, set[str]], waiting: Iterable[str]) -> list[str]:
    left = set(waiting)
    path = [min(left)]
    while path.count(path[-1]) == 1:
        path.append(min(needs[path[-1]] & left))
    return path[path.index(path[-1]) :]


def _check_all_used(steps: Sequence[EnsembleStep], outputs: Mapping[str, Source]) -> None:
    used = {source.step for step in steps for source in step.inputs.values()} | {source.step for source in outputs.values()}
    for step in steps:
        if step.name not in used:
            raise SpecError(
                f"Nothing uses what step '{step.name}' gives.", hint=f"Wire it, give it as an output ({step.name}.…), or drop it."
            )


def _check_fits(has: TensorSpec, wanted: TensorSpec, where: str, source: Source) -> None:
    """A free size may meet a fixed one: whether they agree shows when rows come, and is then said by the step's name."""
    shape = _meet(has.shape, wanted.shape)
    if has.dtype is not wanted.dtype or shape is None:
        raise SpecError(f"{where} takes {wanted.describe()}, but {source} is {has.describe()}.", hint="Wire it to what it was trained on.")


def _both(known: TensorSpec, asked: TensorSpec, where: str) -> TensorSpec:
    """Return the spec of a part of the request that two inputs take."""
    shape = _meet(known.shape, asked.shape)
    if known.dtype is not asked.dtype or shape is None:
        raise SpecError(
            f"{where} takes {asked.describe()}, but another step takes {known.describe()} there.", hint="Give them names of their own."
        )
    if known.columns and asked.columns and known.columns != asked.columns:
        raise SpecError(f"{where} names other columns of '{known.name}' than another step.", hint="Give them names of their own.")
    return replace(known, shape=shape, columns=known.columns or asked.columns)


def _meet(left: Sequence[int | None], right: Sequence[int | None]) -> tuple[int | None, ...] | None:
    """Return the shape that fits both, None where there is none."""
    if len(left) != len(right) or any(None not in pair and pair[0] != pair[1] for pair in zip(left, right, strict=True)):
        return None
    return tuple(two if one is None else one for one, two in zip(left, right, strict=True))


def _average_spec(specs: Sequence[TensorSpec], sources: Sequence[Source], where: str) -> TensorSpec:
    first = specs[0]
    shape: tuple[int | None, ...] | None = first.shape
    for spec, source in zip(specs, sources, strict=True):
        shape = None if shape is None else _meet(shape, spec.shape)
        if shape is None or spec.dtype is not first.dtype or not spec.dtype.is_float:
            raise SpecError(f"{where} cannot average {source}, {spec.describe()}.", hint="It averages floats of the same type and shape.")
    return TensorSpec(COMBINED["average"], first.dtype, shape or ())


def _concat_spec(specs: Sequence[TensorSpec], sources: Sequence[Source], where: str) -> TensorSpec:
    for spec, source in zip(specs, sources, strict=True):
        if len(spec.shape) != 2 or spec.dtype is not specs[0].dtype:
            raise SpecError(f"{where} cannot put {source}, {spec.describe()}, beside the others.", hint="It takes tables of one type.")
    widths = [spec.shape[1] for spec in specs]
    known = [width for width in widths if width is not None]
    return TensorSpec(COMBINED["concat"], specs[0].dtype, (specs[0].shape[0], sum(known) if len(known) == len(widths) else None))


def _decide(outputs: Mapping[str, Source], board: _Board, wanted: str) -> Interface:
    """Return task, decision and labels of the output that decides, under the ensemble's names; the rest is empty."""
    able = {name: board.rules[source] for name, source in outputs.items() if source in board.rules}
    if wanted and wanted not in able:
        hint = f"These could: {', '.join(able)}." if able else "No output of the ensemble is one that a model decides by."
        raise SpecError(f"'{shorten(wanted)}' is no output that decides.", hint=hint)
    if not able:
        return Interface((), ())
    if len(able) > 1 and not wanted:
        raise SpecError(f"Several outputs could decide: {', '.join(able)}.", hint=f"Say which one: decision: {next(iter(able))}.")
    name = wanted or next(iter(able))
    interface, source = able[name], outputs[name]
    rule = interface.decision
    if rule is None:
        return Interface((), ())
    by_source = {place: output for output, place in outputs.items()}
    scores = by_source.get(Source(source.step, rule.scores), "") if rule.scores else ""
    labels: tuple[Label, ...] = interface.labels
    task = interface.task or (Task.REGRESSION if rule.kind is DecisionKind.VALUE else Task.CLASSIFICATION)
    return Interface((), (), task, Decision(rule.kind, name, scores, rule.threshold), labels)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"There is: {', '.join(known[:10])}."
