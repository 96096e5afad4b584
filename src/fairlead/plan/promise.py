"""What is known of a promise before any candidate was made. Pure.

Takes the requirements and what was measured of the model as converted; gives a core PromiseOutlook for each. Calls impossible only what
nothing that runs here could keep: a latency below that of a call which computes nothing, more rows per second than such calls. Everything
else is open until verify has measured it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.core.outlook import PromiseOutlook
from fairlead.core.requirement import METRICS, MetricKind, Requirement
from fairlead.plan.ledger import broken_sentence

_CERTAIN_RATIO = 0.5  # a measured call of nothing may have been slow by chance; half of it is out of reach for certain


@dataclass(frozen=True)
class Known:
    """What was measured of the model as converted: `values` by Requirement.name; `call_ms` of a call that computes nothing (0: unknown).
    `is_compressible`: passes may lose something, so that size and speed can still change.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    call_ms: float = 0.0
    is_compressible: bool = False


def outlook_of(requirements: Sequence[Requirement], known: Known) -> tuple[PromiseOutlook, ...]:
    """Return the outlook of each requirement, in its order."""
    return tuple(_outlook(item, known) for item in requirements)


def _outlook(item: Requirement, known: Known) -> PromiseOutlook:
    impossible = _impossible(item, known)
    value = known.values.get(item.name)
    if impossible:
        return PromiseOutlook(str(item), impossible, value, is_kept=False, is_impossible=True)
    if value is None:
        return PromiseOutlook(str(item), _unmeasured(item))
    if item.is_met(value):
        unit = "" if item.is_custom else METRICS[item.metric].unit
        return PromiseOutlook(str(item), f"as converted: {value:.4g}{f' {unit}' if unit else ''}", value, is_kept=True)
    return PromiseOutlook(str(item), f"as converted, {broken_sentence(item, value)}; {_way_out(item, known)}", value, is_kept=False)


def _impossible(item: Requirement, known: Known) -> str:
    least = known.call_ms * _CERTAIN_RATIO
    if not least:
        return ""
    if item.kind is MetricKind.LATENCY and item.bound < least:
        return f"no model can keep it here: a call that computes nothing takes {known.call_ms:.3g} ms"
    most = 1000.0 * item.batch / least
    if item.kind is MetricKind.THROUGHPUT and item.bound > most:
        return f"no model can keep it here: calls that compute nothing come to {1000.0 * item.batch / known.call_ms:,.0f} rows/s"
    return ""


def _unmeasured(item: Requirement) -> str:
    if item.kind is MetricKind.HARDWARE:
        return "a limit on what is used, kept by the plan itself"
    if item.is_relative or item.kind is MetricKind.PARITY:
        return "measured against the original, for each candidate"
    return "measured for each candidate"


def _way_out(item: Requirement, known: Known) -> str:
    if item.kind is MetricKind.QUALITY:
        return "forms of it are hardly ever better: ask for less, or train a better one"
    if known.is_compressible:
        return "compressed forms may keep it"
    if item.kind is MetricKind.SIZE:
        return "forms that answer as the original keep all its weights: say what may be lost, for example accuracy_drop<=0.005"
    if item.kind in (MetricKind.LATENCY, MetricKind.THROUGHPUT):
        return "another engine may keep it, or a compressed form if you say what may be lost"
    return "another form may keep it"
