"""What looks at a model for findings that may become alerts: quality with promises and compression, and drift.

Takes a model's name and a House; gives Findings. Raises NotFoundError where there is nothing to look at, and what the reports raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead.app.drift_report import DriftRequest, report
from fairlead.app.observations import open_log
from fairlead.app.quality_report import QualityRequest, quality
from fairlead.app.quiet import Quiet
from fairlead.app.wiring import House
from fairlead.core.finding import Finding, FindingKind

QUALITY_SPAN_S = 7 * 86_400.0
DRIFT_SPAN_S = 7 * 86_400.0


@dataclass(frozen=True)
class Finder:
    """Finds things of some kinds: where it fails, alerts of these kinds stay as they are."""

    name: str
    kinds: frozenset[FindingKind]
    find: Callable[[str, House], tuple[Finding, ...]]


def _quality(name: str, house: House) -> tuple[Finding, ...]:
    return quality(QualityRequest(name, since_s=QUALITY_SPAN_S), house).findings


def _drift(name: str, house: House) -> tuple[Finding, ...]:
    return report(DriftRequest(name, DRIFT_SPAN_S, is_catching_up=True), open_log(house), house, Quiet()).findings


FINDERS = (
    Finder("quality", frozenset({FindingKind.QUALITY, FindingKind.PROMISE, FindingKind.COMPRESSION}), _quality),
    Finder("drift", frozenset({FindingKind.DATA_QUALITY, FindingKind.DRIFT, FindingKind.PREDICTION_DRIFT, FindingKind.OUTLIER}), _drift),
)
