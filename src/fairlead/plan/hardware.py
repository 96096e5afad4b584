"""Which machine to take: every offer of a catalogue held against promise, memory, needs and budget, and the reason for the choice. Pure.

Takes a HardwareJob, gives a core HardwareChoice. What was measured on this machine is scaled to another CPU by the ratio of two predictions
(plan/roofline.py), so that what a prediction leaves out counts on both sides; an accelerator is predicted outright. Both are marked. Raises
nothing for an offer that does not fit: that is its reason.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.capacity import Demand, ServerCosts, ServerShape
from fairlead.core.facts import ArithmeticCeiling, Ceilings, MemoryCeiling, ModelFacts
from fairlead.core.hardware import HOURS_PER_MONTH, Budget, HardwareChoice, HardwareKind, HardwareOffer, HardwareOption, Obstacle
from fairlead.core.latency_profile import LatencyProfile
from fairlead.core.strategy import Need
from fairlead.errors import RequirementError, UnsupportedError
from fairlead.plan.capacity import size
from fairlead.plan.cost import cost_of
from fairlead.plan.roofline import predict_profile, scaled

_REACHED_RATIO = 0.6  # of the peak that a seller states, about what a runtime's own matrix product reaches
_USUAL_CALL_MS, _USUAL_OPERATOR_MS = 0.01, 0.002  # of a call on a CPU, where this machine's own was not measured
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_LARGE_BYTES = 128 * 2**20  # a block that fits into no cache: what a stated bandwidth is about
_QUEUE_LIMIT = 32  # no longer than that: computing takes the cube of it, and a shorter queue only makes a prediction more careful
_WORTH_RATIO = 0.5  # an accelerator has to halve the cost before it is worth another kind of machine


@dataclass(frozen=True)
class HardwareJob:
    """What is to run where: `facts` of the model, `profile` and `ceilings` as measured here (None where nothing was measured), the
    `demand`, what a server costs beside the model, the memory of one replica, and what the user needs and may spend.
    """

    facts: ModelFacts
    demand: Demand
    costs: ServerCosts
    shapes: tuple[ServerShape, ...]
    replica_bytes: int
    profile: LatencyProfile | None = None
    ceilings: Ceilings | None = None
    needs: tuple[Need, ...] = ()
    budget: Budget | None = None
    machine_floor: int = 1


def choose(offers: Sequence[HardwareOffer], job: HardwareJob) -> HardwareChoice:
    """Return every offer as an option, those that fit first and the cheapest of them first, and the one to take."""
    options = [_option(offer, job) for offer in offers]
    fitting = sorted((option for option in options if not option.refused), key=_price)
    others = [option for option in options if option.refused]
    runnable = [option for option in fitting if option.offer.is_runnable]
    elsewhere = [option for option in fitting if not option.offer.is_runnable]
    notes = _notes(options, runnable, elsewhere, job)
    if runnable:
        return HardwareChoice((*fitting, *others), runnable[0].offer.name, _why(runnable, job), notes)
    if elsewhere:
        reason = f"no machine that Fairlead's engines run on keeps the promise; {elsewhere[0].offer.name} is predicted to"
        return HardwareChoice((*fitting, *others), elsewhere[0].offer.name, reason, notes)
    return HardwareChoice(tuple(others), "", "no machine of the catalogue fits", notes)


def ceilings_of(offer: HardwareOffer, here: Ceilings | None) -> Ceilings:
    """Return what the offer can do at most, as a prediction takes it: what its seller states, less what is never reached.

    A CPU's threads share its peaks evenly; what no seller states of it (trees, caches, what a call costs) is taken from this machine. Types
    that an accelerator does not compute in are computed in the next one that it does.
    """
    is_accelerator = _is_accelerator(offer)
    counts = [1] if is_accelerator else range(1, offer.core_count + 1)
    share = {count: 1.0 if is_accelerator else count / offer.core_count for count in counts}
    peaks = dict(offer.peak_flops_per_s)
    for dtype, instead in (("FP16", "FP32"), ("FP32", "FP16"), ("INT8", "FP32")):
        peaks.setdefault(dtype, peaks.get(instead, 0.0))
    arithmetic = [
        ArithmeticCeiling(dtype, count, peak * _REACHED_RATIO * share[count]) for dtype, peak in peaks.items() for count in counts
    ]
    speed = offer.bandwidth_bytes_per_s * _REACHED_RATIO
    memory = [MemoryCeiling(count, _LARGE_BYTES, speed * share[count]) for count in counts]
    overheads = (_USUAL_CALL_MS, _USUAL_OPERATOR_MS)
    if here is not None and not is_accelerator:
        overheads = (here.call_ms, here.operator_ms)
        arithmetic += [ArithmeticCeiling("TREES", count, here.flops_per_s("TREES", 1) * count) for count in counts]
        cached = min((item for item in here.memory if item.thread_count == 1), key=lambda item: item.block_bytes, default=None)
        if cached is not None and cached.block_bytes < _LARGE_BYTES:
            memory += [MemoryCeiling(count, cached.block_bytes, cached.bytes_per_s * count) for count in counts]
    call_ms, operator_ms = (offer.call_ms, offer.operator_ms) if is_accelerator else overheads
    return Ceilings(offer.processor, tuple(arithmetic), tuple(memory), call_ms, operator_ms, is_measured=False)


def predicted_profile(offer: HardwareOffer, job: HardwareJob) -> LatencyProfile:
    """Return how long calls are expected to take on `offer`; raises UnsupportedError where that cannot be told."""
    there = ceilings_of(offer, job.ceilings)
    if not _is_accelerator(offer) and job.profile is not None and job.ceilings is not None:
        fitting = tuple(point for point in job.profile.points if point.thread_count <= offer.core_count)
        # How this machine's speed drifts says nothing of another's.
        return scaled(dataclasses.replace(job.profile, points=fitting, drift=(1.0,)), job.facts, job.ceilings, there)
    counts = (
        [1] if _is_accelerator(offer) else sorted({shape.thread_count for shape in job.shapes if shape.thread_count <= offer.core_count})
    )
    return predict_profile(job.facts, there, _BATCHES, counts)


def _is_accelerator(offer: HardwareOffer) -> bool:
    return offer.call_ms > 0


def _option(offer: HardwareOffer, job: HardwareJob) -> HardwareOption:
    unsuited = _unsuited(offer, job)
    if unsuited is not None:
        return HardwareOption(offer, refused=unsuited[1], obstacle=unsuited[0])
    try:
        profile = predicted_profile(offer, job)
    except UnsupportedError as error:
        return HardwareOption(offer, refused=error.message, obstacle=Obstacle.TYPE)
    shapes = [
        dataclasses.replace(shape, queue_limit=min(shape.queue_limit, _QUEUE_LIMIT))
        for shape in job.shapes
        if shape.thread_count in profile.thread_counts and shape.core_count <= (1 if _is_accelerator(offer) else offer.core_count)
    ]
    if not shapes:
        return HardwareOption(offer, refused=f"it has {offer.core_count} cores, fewer than one replica computes on", obstacle=Obstacle.ROOM)
    try:
        capacity = size(profile, job.demand, job.costs, shapes)
    except RequirementError as error:
        return HardwareOption(offer, refused=error.message, obstacle=Obstacle.SPEED)
    try:
        cost = cost_of(capacity, offer, job.replica_bytes, job.machine_floor)
    except RequirementError as error:
        return HardwareOption(offer, capacity, refused=error.message, obstacle=Obstacle.ROOM)
    if job.budget is not None and cost.per_month > job.budget.per_month:
        over = f"{cost.per_month:,.2f} {cost.currency} a month, and the budget is {job.budget.per_month:,.2f}"
        return HardwareOption(offer, capacity, cost, over, Obstacle.BUDGET)
    return HardwareOption(offer, capacity, cost)


def _unsuited(offer: HardwareOffer, job: HardwareJob) -> tuple[Obstacle, str] | None:
    """Return what speaks against an offer whatever it computes, None for nothing."""
    if Need.EDGE in job.needs and offer.kind is not HardwareKind.EDGE:
        return Obstacle.PLACE, "it does not stand where the data is (need edge)"
    if Need.EDGE not in job.needs and offer.kind is HardwareKind.EDGE:
        return Obstacle.PLACE, "a device on site: say the need edge to take one"
    if Need.OFFLINE in job.needs and offer.region:
        return Obstacle.PLACE, "it is rented, and there is no way to the outside (need offline)"
    if not {"FP32", "FP16"} & set(offer.peak_flops_per_s):
        return Obstacle.TYPE, "it computes in 8-bit integers only, and the model does not"
    if _is_accelerator(offer) and job.facts.tree_count:
        return Obstacle.TYPE, "trees run on a CPU"
    if job.budget is None:
        return None
    if job.budget.currency != offer.currency:
        return Obstacle.CURRENCY, f"its price is in {offer.currency}, and the budget in {job.budget.currency}"
    least = offer.price_per_hour * job.machine_floor * HOURS_PER_MONTH
    if least > job.budget.per_month:
        return Obstacle.BUDGET, f"at least {least:,.2f} {offer.currency} a month, and the budget is {job.budget.per_month:,.2f}"
    return None


def _price(option: HardwareOption) -> tuple[float, float]:
    if option.cost is None:
        return (float("inf"), 0.0)
    return (option.cost.per_month, option.cost.per_million_at_limit)


def _why(fitting: Sequence[HardwareOption], job: HardwareJob) -> str:
    best = fitting[0]
    if best.cost is None or best.p99_ms is None:
        return "it fits"
    said = f"the cheapest of {len(fitting)} that fit" if len(fitting) > 1 else "the only one that fits"
    p99 = f"p99 {best.p99_ms:.3g} ms of {job.demand.p99_ms:g} ms at {job.demand.rate_rps:,.10g} requests/s"
    return f"{said}: {best.cost.per_month:,.2f} {best.cost.currency} a month; {'predicted' if best.is_predicted else 'measured'} {p99}"


def _notes(
    options: Sequence[HardwareOption], runnable: Sequence[HardwareOption], elsewhere: Sequence[HardwareOption], job: HardwareJob
) -> tuple[str, ...]:
    notes = ["every latency of a machine other than this one is predicted; measure before you decide: fairlead bench"]
    if any(option.cost is not None and option.cost.price_is_estimate for option in options):
        notes.append("prices marked ~ are estimates: nobody looked them up at their seller on the date that they bear")
    if runnable and elsewhere and _price(elsewhere[0])[0] < _WORTH_RATIO * _price(runnable[0])[0]:
        notes.append(f"{elsewhere[0].offer.name} is predicted to do it for less than half, but no engine of Fairlead computes there yet")
    if job.budget is not None and not runnable:
        notes += _needed_budget(options, job)
    return tuple(notes)


def _needed_budget(options: Sequence[HardwareOption], job: HardwareJob) -> list[str]:
    """Say which budget would be enough for a machine that Fairlead's engines run on."""
    unbounded = dataclasses.replace(job, budget=None)
    over = [option.offer for option in options if option.obstacle is Obstacle.BUDGET and option.offer.is_runnable]
    dear = sorted((option for offer in over if not (option := _option(offer, unbounded)).refused), key=_price)
    if not dear or dear[0].cost is None:
        return []
    enough = math.ceil(dear[0].cost.per_month * 100) / 100  # what is printed is enough when it is typed
    return [f"a budget of {enough:,.2f} {dear[0].cost.currency} a month would be enough for {dear[0].offer.name}"]
