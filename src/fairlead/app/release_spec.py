"""release.yaml: which version a model should have, how it takes over, and what it has to keep to on the way. Shapes of the file only.

Takes the file's text, gives a ReleaseSpec and from it a ReleaseRequest; raises SpecError that names the key and the nearest right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.spec import parse_as, read_text
from fairlead.core.gate import ALPHA, MIN_REQUESTS, GateSpec, parse_gate
from fairlead.core.release import ReleaseKind, ReleaseStep
from fairlead.core.release_text import canary_steps, check_arms, parse_share, parse_span
from fairlead.core.traffic import CANDIDATE, Arm, Segment
from fairlead.core.version import PRODUCTION, check_name
from fairlead.errors import SpecError

SCHEMA_ID = "urn:fairlead:schema:release-yaml:1"
STEP_TIME_S, SHADOW_TIME_S = 300.0, 3600.0
GATE = "error_rate, client_error_rate, p99_ms"

_Share = Annotated[float, Meta(ge=0, le=1)] | Annotated[str, Meta(pattern=r"^[0-9]{1,3}([.][0-9]+)?%$")]
_Span = Annotated[str, Meta(pattern=r"^[0-9]+([.][0-9]+)?(s|m|min|h)?$")] | Annotated[float, Meta(ge=0)]


class SegmentSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Requests that go to one arm whatever the split."""

    header: Annotated[str, Meta(description="HTTP header or gRPC metadata.")]
    values: Annotated[list[str], Meta(description="The values that it has then.", min_length=1)]
    arm: Annotated[str, Meta(description="The arm that they go to.")] = CANDIDATE


class ArmSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An arm of an experiment."""

    version: Annotated[int, Meta(description="The version that answers.", ge=1)]
    share: Annotated[_Share, Meta(description="Its share of the requests; all arms together make 100%.")]


class CanarySpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A version that takes over by growing shares."""

    steps: Annotated[list[_Share], Meta(description="Shares of the traffic, growing: [1%, 10%, 50%].", min_length=1)]
    step_time: Annotated[_Span, Meta(description="How long each step lasts at least: 90s, 10m, 1h.")] = STEP_TIME_S


class ShadowSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A version whose answers are compared with the live ones and never given."""

    share: Annotated[_Share, Meta(description="Share of the requests that it answers, too.")]
    time: Annotated[_Span | None, Meta(description="How long a shadow alone runs: 90s, 10m, 1h; an hour unless given.")] = None


class ReleaseSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a model should have live, and how it gets there."""

    model: Annotated[str, Meta(description="The model's name in the registry.")]
    version: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="The version that should be live.")] = None
    alias: Annotated[str, Meta(description="The alias that servers follow.")] = PRODUCTION
    canary: Annotated[CanarySpec | None, Meta(description="Take over by growing shares; all at once unless given.")] = None
    shadow: Annotated[ShadowSpec | None, Meta(description="Compare answers unseen; before the canary, where both are given.")] = None
    experiment: Annotated[
        dict[str, ArmSpec] | None, Meta(description="Arms with fixed shares instead of a version; one of them is the live version.")
    ] = None
    gate: Annotated[str | list[str] | None, Meta(description="What must not get worse: error_rate, p99_ms<=20, disagreement<=0.02.")] = None
    alpha: Annotated[float, Meta(description="False alarms per release, at most.", gt=0, le=0.5)] = ALPHA
    min_requests: Annotated[int, Meta(description="What a step has to see before it may end on 'nothing found'.", ge=1)] = MIN_REQUESTS
    sticky: Annotated[str | None, Meta(description="Parameter or header by whose value requests are drawn, such as user_id.")] = None
    segments: Annotated[list[SegmentSpec], Meta(description="Requests that go to one arm whatever the split.")] = []
    twin: Annotated[_Share | None, Meta(description="Share that the version's uncompressed original answers, too.")] = None
    allow_interface_change: Annotated[bool, Meta(description="Clients know that names, shapes or labels change.")] = False

    def request(self) -> ReleaseRequest:
        """Return what the file asks for; raises SpecError."""
        check_name(self.model)
        if (self.version is None) == (self.experiment is None):
            raise SpecError(
                "A release says either `version` or `experiment`.",
                hint="version: 4, or experiment: {A: {version: 3, share: 50%}, B: {version: 4, share: 50%}}",
            )
        kind = self._kind()
        return ReleaseRequest(
            kind=kind,
            reference=self.model if self.version is None else f"{self.model}:{self.version}",
            alias=self.alias,
            steps=self._steps(),
            arms=check_arms([Arm(name, arm.version, _share(arm.share)) for name, arm in (self.experiment or {}).items()]),
            gate=self._gate(kind),
            min_step_s=self._min_step_s(),
            sticky=self.sticky or "",
            segments=tuple(Segment(item.header, tuple(item.values), item.arm) for item in self.segments),
            twin_share=_share(self.twin) if self.twin is not None else 0.0,
            allow_interface_change=self.allow_interface_change,
        )

    def _kind(self) -> ReleaseKind:
        if self.experiment is not None:
            if self.canary is not None or self.shadow is not None:
                raise SpecError("An experiment has arms, no canary and no shadow.", hint="Leave out one of them.")
            return ReleaseKind.EXPERIMENT
        if self.canary is not None:
            return ReleaseKind.CANARY
        if self.shadow is not None:
            return ReleaseKind.SHADOW
        if self.gate is not None or self.sticky or self.segments or self.twin is not None:
            raise SpecError(
                "A gate, segments and the like need a canary, a shadow or an experiment.", hint="canary: {steps: [1%, 10%, 50%]}"
            )
        return ReleaseKind.BLUE_GREEN

    def _min_step_s(self) -> float:
        if self.canary is not None:
            if self.shadow is not None and self.shadow.time is not None:
                raise SpecError("`shadow.time` is the time of a shadow alone.", hint="Beside a canary each step lasts `canary.step_time`.")
            return _span(self.canary.step_time)
        if self.shadow is None:
            return 0.0
        return SHADOW_TIME_S if self.shadow.time is None else _span(self.shadow.time)

    def _steps(self) -> tuple[ReleaseStep, ...]:
        shadow = (ReleaseStep(0.0, _share(self.shadow.share)),) if self.shadow is not None else ()
        canary = canary_steps([_share(share) for share in self.canary.steps]) if self.canary is not None else ()
        return (*shadow, *canary)

    def _gate(self, kind: ReleaseKind) -> GateSpec | None:
        text = ", ".join(self.gate) if isinstance(self.gate, list) else self.gate
        return gate_of(text, kind, alpha=self.alpha, min_requests=self.min_requests)


def gate_of(text: str | None, kind: ReleaseKind, *, alpha: float = ALPHA, min_requests: int = MIN_REQUESTS) -> GateSpec | None:
    """Return the gate that a person wrote; a canary has one in any case."""
    if text is None and kind is ReleaseKind.CANARY:
        text = GATE
    return None if text is None else parse_gate(text, alpha, min_requests=min_requests)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of release.yaml, for editors."""
    schema = msgspec.json.schema(ReleaseSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "release.yaml", **schema}


def read_release(path: Path) -> ReleaseSpec:
    """Read a release file; raises SpecError."""
    return parse_release(read_text(path), name=str(path))


def parse_release(text: bytes | str, *, name: str = "release.yaml") -> ReleaseSpec:
    """Parse the text of a release file; raises SpecError."""
    return parse_as(ReleaseSpec, text, name=name, start="model: digits", hint=_hint)


def _hint(plain: Mapping[str, Any]) -> str:
    del plain
    return "`fairlead schema release` prints what each key takes."


def _share(value: float | str) -> float:
    return parse_share(value) if isinstance(value, str) else value


def _span(value: float | str) -> float:
    return parse_span(value) if isinstance(value, str) else float(value)
