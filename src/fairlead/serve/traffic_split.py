"""How the requests of one model that name no version are divided now: which loaded version answers for each arm.

Takes a TrafficPlan and what is loaded of its model; gives the version for a request, and tells the witness how each one ended. Raises
nothing. Laws: a request whose arm cannot answer (not loaded, crashed, other inputs) is answered by the live one, which is counted; a
version that is not loaded, or that has been taken out of the table, is never given a request.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from fairlead.core.evidence import Outcome
from fairlead.core.interface import Interface, Label, TensorSpec
from fairlead.core.traffic import Arm, TrafficPlan, assign, header_name, is_drawn, segment_arm
from fairlead.core.traffic_event import Answered, ComparisonKind, Gap, Missed
from fairlead.serve.model_table import ServedModel, ServedVersion
from fairlead.serve.traffic_mirror import Job

if TYPE_CHECKING:
    from fairlead.serve.data_plane import Asked, InferRequest
    from fairlead.serve.traffic import Traffic

_answered = Answered._make
_CALLERS = frozenset({"bad_request", "too_large", "not_found", "unsupported"})


class Draw(msgspec.Struct, frozen=True, gc=False):
    """Which arm a request was drawn for, or sent to by a segment. `arm` is who answers; `name` is what the answer says, "" for nothing."""

    split: Split
    arm: Arm
    name: str
    is_drawn: bool


class Split:
    """One plan, applied to one model. Made anew whenever the plan or what is loaded changes."""

    def __init__(self, plan: TrafficPlan, model: ServedModel, traffic: Traffic) -> None:
        self.plan = plan
        self._model, self._traffic, self._witness = model, traffic, traffic.witness
        self._base = model.versions.get(model.default)
        self._targets = {arm.name: self._fitting(arm.version) for arm in plan.arms}
        self._shadow = None if plan.shadow is None else self._fitting(plan.shadow.version)
        self._names = _Names(plan)

    def number_of(self, arm: str) -> int | None:
        """Return the number of the version behind an arm's name."""
        return next((item.version for item in self.plan.arms if item.name == arm), None)

    def route(self, request: InferRequest, served: ServedVersion) -> tuple[ServedVersion, Draw | None]:
        """Return the version that answers `request`, whose inputs were read for `served`, and what was drawn."""
        if served is not self._base or (request.label and request.label != self._traffic.label):
            return served, None  # another alias, or what answers by default changed while the request was read
        plan = self.plan
        arm = segment_arm(plan, self._names.read(request.metadata)) if plan.segments else None
        drawn = arm is None
        if arm is None:
            arm = plan.arms[0] if len(plan.arms) == 1 else assign(plan, self._names.key(request))
        target = self._targets[arm.name]
        if target is None or (arm is not plan.arms[0] and (target.is_asleep or not target.executor.slot_count)):
            self._fell_back(arm, target, is_evidence=drawn)
            arm, drawn = plan.arms[0], False
            target = self._targets[arm.name] or served
        return target, Draw(self, arm, arm.name if plan.release else "", drawn)

    def without_key(self, parameters: Mapping[str, Label]) -> Mapping[str, Label]:
        """Return a request's parameters without the sticky key: it must not keep requests from running together."""
        sticky = self.plan.sticky
        if not sticky or sticky not in parameters:
            return parameters
        return {name: value for name, value in parameters.items() if name != sticky}

    def ended(self, asked: Asked, draw: Draw, error_code: str) -> None:
        """Tell how a request ended that this split has routed; begin what it is compared with. Never raises: the answer is on its way."""
        try:
            if error_code != "cancelled":
                self._tell(asked, draw, error_code)
        except Exception:  # noqa: BLE001 - a mistake of ours must not lose an answer
            self._traffic.report(f"Telling what a release showed failed.\n{traceback.format_exc()}")

    def _tell(self, asked: Asked, draw: Draw, error_code: str) -> None:
        plan, arm, request, served = self.plan, draw.arm, asked.request, asked.served
        ticket = asked.ticket
        outcome = Outcome.OK if not error_code else Outcome.CLIENT if error_code in _CALLERS else Outcome.SERVER
        outputs = None if error_code else asked.outputs if ticket is None else ticket.results
        latency_ms = asked.cache_ms if ticket is None else ticket.queue_ms + ticket.compute_ms
        self._witness.answered(
            _answered(
                (
                    served.version.name,
                    plan.release,
                    plan.step,
                    arm.name,
                    served.version.number,
                    outcome,
                    int(latency_ms * 1e6),
                    draw.is_drawn,
                    request.request_id,
                    request.own_id,
                    served.interface,
                    outputs,
                )
            )
        )
        if outputs is not None and draw.is_drawn:
            self._mirror(asked, arm)

    def _mirror(self, asked: Asked, arm: Arm) -> None:
        """Hand the request on to what its answer is compared with."""
        plan, request, served = self.plan, asked.request, asked.served
        shadow = plan.shadow
        if shadow is not None and arm is plan.arms[0] and is_drawn(shadow.share, plan.salt, "shadow", request.request_id):
            if self._shadow is None or self._shadow is served:
                self._miss_shadow(arm, shadow.version)
            else:
                self._traffic.mirror.offer(self._job(ComparisonKind.SHADOW, asked, arm, self._shadow))
        share = plan.twin_share or self._traffic.twin_share
        if share and served.twin is not None and is_drawn(share, plan.salt, "twin", request.request_id):
            self._traffic.mirror.offer(self._job(ComparisonKind.TWIN, asked, arm, served))

    def _job(self, kind: ComparisonKind, asked: Asked, arm: Arm, target: ServedVersion) -> Job:
        ticket = asked.ticket
        return Job(
            kind,
            self.plan.release,
            self.plan.step,
            arm.name,
            target,
            asked.served,
            asked.request.inputs,
            asked.request.outputs,
            asked.rows,
            (asked.outputs or {}) if ticket is None else (ticket.results or {}),
            0 if ticket is None else int(ticket.compute_ms * 1e6),
            is_evidence=kind is ComparisonKind.SHADOW or arm is not self.plan.arms[0],
        )

    # Arms that cannot answer.

    def _fitting(self, number: int) -> ServedVersion | None:
        """Return the loaded version, if requests that were read for the default one can be put to it."""
        served = self._model.versions.get(number)
        return served if served is not None and self._base is not None and fits(served.interface, self._base.interface) else None

    def _gap(self, number: int, target: ServedVersion | None) -> Gap:
        if target is not None:
            return Gap.ASLEEP if target.is_asleep else Gap.FAILED
        if number in self._model.versions:
            return Gap.MISFIT
        absent = self._model.absent.get(number)
        return Gap.LOADING if absent is not None and absent.is_loading else Gap.FAILED

    def _fell_back(self, arm: Arm, target: ServedVersion | None, *, is_evidence: bool) -> None:
        gap = self._gap(arm.version, target)
        if gap is Gap.ASLEEP and target is not None:
            self._traffic.rouse(target)
        plan = self.plan
        self._traffic.missed(Missed(self._model.name, plan.release, plan.step, arm.name, arm.version, gap, is_evidence=is_evidence))

    def _miss_shadow(self, arm: Arm, number: int) -> None:
        gap = self._gap(number, None)
        plan = self.plan
        self._traffic.missed(Missed(self._model.name, plan.release, plan.step, arm.name, number, gap, ComparisonKind.SHADOW))


class _Names:
    """The headers (or metadata) that a plan asks for, as a transport writes them, and what a request says in them."""

    def __init__(self, plan: TrafficPlan) -> None:
        self._sticky = plan.sticky
        self._sticky_field = header_name(plan.sticky).encode("ascii")
        self._segments = {segment.header.lower(): segment.header.lower().encode("ascii") for segment in plan.segments}

    def key(self, request: InferRequest) -> str:
        """Return what a request is drawn by: the sticky parameter, else header, else the request's id."""
        if self._sticky:
            value = request.parameters.get(self._sticky)
            if value is not None:
                return str(value)
            given = request.metadata.get(self._sticky_field)
            if given is not None:
                return given.decode("utf-8", "replace")
        return request.request_id

    def read(self, metadata: Mapping[bytes, bytes]) -> dict[str, str]:
        """Return the headers that segments ask for, as far as the request has them."""
        return {name: metadata[field].decode("utf-8", "replace") for name, field in self._segments.items() if field in metadata}


def fits(interface: Interface, base: Interface) -> bool:
    """Whether a request that was read for `base` means the same to a model with `interface`, and every output that it may name is there."""
    if [_meaning(spec) for spec in interface.inputs] != [_meaning(spec) for spec in base.inputs]:
        return False
    offered = {spec.name: spec.dtype for spec in interface.outputs}
    return all(offered.get(spec.name) is spec.dtype for spec in base.outputs)


def _meaning(spec: TensorSpec) -> tuple[object, ...]:
    return spec.name, spec.dtype, spec.shape, spec.columns, spec.is_category
