"""ensemble.yaml: the steps of an ensemble, and what flows between them.

Takes the file's text, gives an EnsembleSpec; raises SpecError that names the key and the nearest right one. The grammar of wires
(`input.x`, `step.output`) is `core.ensemble_wiring`'s; which models there are is not looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fairlead.app.spec import parse_as, read_text
from fairlead.core.ensemble import StepKind
from fairlead.core.requirement import Requirement, parse_requirements
from fairlead.errors import SpecError

SCHEMA_ID = "urn:fairlead:schema:ensemble-yaml:1"
_Wire = Annotated[str, Meta(description="input.NAME of the request, STEP.OUTPUT, or STEP where it gives one thing only.")]


class StepSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One step: a model with its inputs wired, or what combines what steps before it gave."""

    model: Annotated[str | None, Meta(description="A registered version: scaler, scaler:3 or scaler@production. It is pinned.")] = None
    inputs: Annotated[dict[str, _Wire], Meta(description="Where each input of the model comes from.")] = {}
    average: Annotated[list[_Wire] | None, Meta(description="Floats of one shape, averaged in FP64. Gives: value.")] = None
    vote: Annotated[list[_Wire] | None, Meta(description="Outputs that decide, one vote each. Gives: label.")] = None
    concat: Annotated[list[_Wire] | None, Meta(description="Tables, put side by side. Gives: value.")] = None
    weights: Annotated[list[float], Meta(description="Of an average or a vote, one for each.")] = []


class EnsembleSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A small graph of registered models that becomes one version."""

    steps: Annotated[dict[str, StepSpec], Meta(description="The steps by name, in any order.")] = {}
    outputs: Annotated[dict[str, _Wire], Meta(description="What the ensemble gives, and where each comes from.")] = {}
    name: Annotated[str | None, Meta(description="Name to register it under; the file's name unless given.")] = None
    decision: Annotated[str | None, Meta(description="The output that decides, where several could.")] = None
    data: Annotated[str | None, Meta(description="Rows to prove it with, relative to this file.")] = None
    target: Annotated[str | None, Meta(description="Column (or array) that holds the right answers.")] = None
    require: Annotated[list[str], Meta(description="The promise: 'accuracy>=0.95', 'p99_ms<=10', ...")] = []

    def requirements(self) -> tuple[Requirement, ...]:
        """Return the typed promise; raises RequirementError."""
        return parse_requirements(self.require)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of ensemble.yaml, for editors."""
    schema = msgspec.json.schema(EnsembleSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "ensemble.yaml", **schema}


def read_ensemble_spec(path: Path) -> EnsembleSpec:
    """Read an ensemble.yaml; raises SpecError."""
    return parse_ensemble(read_text(path), name=path.name)


def parse_ensemble(text: bytes | str, *, name: str = "ensemble.yaml") -> EnsembleSpec:
    """Parse the text of an ensemble.yaml; raises SpecError."""
    spec = parse_as(EnsembleSpec, text, name=name, start="steps:", hint=_hint)
    for step, said in spec.steps.items():
        kind_of(said, f"{name}: step '{step[:64]}'")
    return spec


def kind_of(step: StepSpec, where: str) -> StepKind:
    """Return what the step does; raises SpecError unless it does exactly one thing."""
    said = {StepKind.MODEL: step.model, StepKind.AVERAGE: step.average, StepKind.VOTE: step.vote, StepKind.CONCAT: step.concat}
    kinds = [kind for kind, value in said.items() if value is not None]
    if len(kinds) != 1:
        named = " and ".join(kinds) or "nothing"
        raise SpecError(f"{where} does {named}.", hint=f"A step has one of: {', '.join(kind.value for kind in said)}.")
    (kind,) = kinds
    if kind is not StepKind.MODEL and step.inputs:
        raise SpecError(
            f"{where} has inputs, which only a model takes by name.", hint=f"List what it combines: {kind.value}: [a.scores, b.scores]."
        )
    if step.weights and kind not in (StepKind.AVERAGE, StepKind.VOTE):
        raise SpecError(f"{where} has weights, which only an average or a vote takes.", hint="Drop them.")
    return kind


def _hint(plain: Mapping[str, Any]) -> str:
    if isinstance(plain.get("steps"), list):
        return "`steps` maps names to steps: {scale: {model: scaler, inputs: {x: input.x}}}."
    return "`fairlead schema ensemble` prints what each key takes."
