"""What a search says on the terminal: its baseline, each trial on a line, what one reason ended, and what an interruption leaves. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.app.search_measure import Meter
from fairlead.app.search_setup import Setup
from fairlead.app.search_trials import TIME_UP, Trials, name_of
from fairlead.core.outlook import PromiseOutlook
from fairlead.core.paired import Comparison
from fairlead.core.search import PointStatus, SearchPoint, SearchResult

_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass
class Reasons:
    """Why trials failed: each reason is said once, however many fail of it."""

    _counts: Counter[str] = field(default_factory=Counter)

    def is_known(self, point: SearchPoint) -> bool:
        """Whether `point` failed of something that was said before; counts it."""
        if point.status is not PointStatus.FAILED:
            return False
        reason = _NUMBER.sub("#", point.reason)
        self._counts[reason] += 1
        return self._counts[reason] > 1

    @property
    def repeated_count(self) -> int:
        """How many failed of something that was said before."""
        return sum(count - 1 for count in self._counts.values())


def baseline_text(setup: Setup, meter: Meter, promise: Sequence[PromiseOutlook]) -> str:
    """The model to beat, what it breaks of the promise, which engines are not here, and what can be tried."""
    entrant = setup.plain[setup.baseline]
    lines = [f"{setup.baseline} ({entrant.engine.description}): {meter.baseline_ms:.3g} ms at batch {setup.batch}"]
    lines += [f"{one.requirement}: {one.sentence}" for one in promise if one.is_kept is False]
    lines += [f"without {name}: {reason}" for name, reason in setup.choice.absent]
    names = list(setup.space.values)
    lines.append(f"{len(names)} {'pass' if len(names) == 1 else 'passes'} can be tried: {', '.join(names) or 'none'}")
    lines += [f"{name} would be tried with: pip install 'fairlead[{extra}]'" for name, extra in setup.space.missing]
    return "\n".join(lines)


def point_text(point: SearchPoint, trials: Trials) -> str:
    """One trial on one line, with the best so far."""
    shown = {
        PointStatus.KEPT: f"{point.size_bytes / 1e6:.3g} MB, {speed_text(point.against_baseline)}{_chance_text(point)}",
        PointStatus.DUPLICATE: point.reason,
    }.get(point.status, f"{point.status.value}: {point.reason}")
    best = next((one for one in trials.best if one.recipe), None)
    if best is None:
        return f"{point.candidate.name}: {shown}"
    called = "nearest" if best.shortfall else "best"
    if name_of(best.recipe) == point.candidate.name:
        return f"{point.candidate.name}: {shown} (the {called} so far)"
    return f"{point.candidate.name}: {shown} | {called} {best.size_bytes / 1e6:.3g} MB, {speed_text(best.time_ratio)}"


def _chance_text(point: SearchPoint) -> str:
    """How sure it is that what may be lost keeps its bounds elsewhere, where that is not as good as certain."""
    return f", keeps its bounds elsewhere with {point.chance:.0%}" if point.chance is not None and point.chance < 0.9 else ""


def speed_text(value: Comparison | float | None) -> str:
    """How many times as fast as the baseline."""
    ratio = value.ratio if isinstance(value, Comparison) else 1.0 if value is None else value
    return f"{1 / ratio:.2f}x as fast"


def unfinished_text(search: SearchResult | None, to_go_on: str) -> str:
    """What is said behind the outcome of a search that found nothing, where more time might have; "" where it would not."""
    return "" if search is None or search.stopped != TIME_UP else f" The time for trials was up: {to_go_on}"


def interrupted_text(trials: Trials, to_go_on: str) -> str:
    """What an interruption leaves, and how to go on."""
    count = len({point.candidate.passes for point in trials.points if point.candidate.passes})
    if not count:
        return "Interrupted before a trial had ended; nothing half-done was left behind."
    best = next((one for one in trials.best if one.recipe), None)
    called = "" if best is None else "nearest" if best.shortfall else "best"
    said = f"; the {called} so far: {name_of(best.recipe)}, {speed_text(best.time_ratio)}" if best is not None else ""
    done = "1 trial; what it" if count == 1 else f"{count} trials; what they"
    return f"Interrupted after {done} showed is kept{said}. {to_go_on}"
