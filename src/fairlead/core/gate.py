"""The gate of a release: which metrics it watches and how strictly, and what it decided with which numbers. Values and one grammar.

    error_rate                  no more failed answers than live     error_rate<=0.01        at most 1 % of them, whatever live does
    error_rate_rise<=0.002      at most 0.2 points more than live    client_error_rate       likewise, of refused requests
    p99_ms                      no slower than live; p95_ms, p50_ms  p99_ms<=20              at most 20 ms, whatever live does
    p99_ms_rise<=10%            at most 10 % slower than live
    accuracy                    late labels: no worse than live      accuracy>=0.9           accuracy_drop<=0.01
    disagreement<=0.02          decided otherwise than live, of requests that both answered (shadow)
    twin_flips<=0.01            decided otherwise than the candidate's own uncompressed original (twin)
    min_requests=200            (beside metrics) what each has to see before a step may end without proof; 500 unless said
    cluster=8                   (beside metrics) requests that share one latency, those of one batch, count as one; 1 unless said

`parse_gate` raises SpecError, which names what is unknown and what comes nearest; `str()` of a metric parses to the same metric. Pure.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
from dataclasses import dataclass

from fairlead.errors import SpecError

ALPHA = 0.01
MIN_REQUESTS = 500
_EXAMPLE = "Write it like: error_rate, p99_ms<=20, p99_ms_rise<=10%, disagreement<=0.02, accuracy_drop<=0.01."


class Source(enum.StrEnum):
    """Where a metric's counts come from."""

    SPLIT = "split"  # requests divided between live and candidate
    LABELS = "labels"  # late labels of these
    SHADOW = "shadow"  # requests that both answered
    TWIN = "twin"  # requests that the candidate and its uncompressed original answered


@dataclass(frozen=True)
class MetricRule:
    """A metric that a gate can watch.

    Without a bound it is compared with live: the gate rolls back what is proven worse than live by more than `limit`, and goes on with what
    is proven to be worse by less than `tolerance`. These are shares of live's value with `is_ratio`, else differences. `default_bound` is
    set where there is no live value to compare with.
    """

    name: str
    source: Source
    sentence: str
    quantile: float | None = None
    is_minimum: bool = False
    limit: float = 0.0
    tolerance: float = 0.0
    default_bound: float | None = None

    @property
    def is_ratio(self) -> bool:
        """Whether regressions are shares of live's value."""
        return self.quantile is not None

    def clustered(self, cluster: float) -> float:
        """Return how many of its counts are one: those of one batch have one latency and fail together, but are right each for itself."""
        return cluster if self.source is Source.SPLIT else 1.0

    @property
    def suffix(self) -> str:
        """How a regression is written."""
        return "_drop" if self.is_minimum else "_rise"


_RULES = (
    MetricRule("error_rate", Source.SPLIT, "failed answers", tolerance=0.005),
    MetricRule("client_error_rate", Source.SPLIT, "refused requests", tolerance=0.01),
    MetricRule("p50_ms", Source.SPLIT, "median latency", quantile=0.50, limit=0.05, tolerance=0.20),
    MetricRule("p95_ms", Source.SPLIT, "95th percentile of the latency", quantile=0.95, limit=0.05, tolerance=0.20),
    MetricRule("p99_ms", Source.SPLIT, "99th percentile of the latency", quantile=0.99, limit=0.05, tolerance=0.20),
    MetricRule("accuracy", Source.LABELS, "right answers among those with a label", is_minimum=True, tolerance=0.02),
    MetricRule("disagreement", Source.SHADOW, "answers decided otherwise than by live", default_bound=0.02),
    MetricRule("twin_flips", Source.TWIN, "answers decided otherwise than by the uncompressed original", default_bound=0.01),
)
RULES = {rule.name: rule for rule in _RULES}
_ALIASES = {"errors": "error_rate", "latency": "p99_ms", "p99": "p99_ms", "p95": "p95_ms", "p50": "p50_ms", "flips": "disagreement"}
_ITEM = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\s*(?P<op><=|>=|==|=|<|>)\s*(?P<value>\S+))?")

_BESIDE = re.compile(r"(?P<name>min_requests|cluster)\s*=\s*(?P<value>\S+)")


@dataclass(frozen=True)
class GateMetric:
    """A metric as a user asked for it: against a fixed `bound`, or (None) against live.

    `limit` and `tolerance`: see MetricRule. Law: 0 <= limit <= tolerance.
    """

    name: str
    bound: float | None = None
    limit: float = 0.0
    tolerance: float = 0.0
    is_explicit: bool = False

    @property
    def rule(self) -> MetricRule:
        """What is known of this metric."""
        return RULES[self.name]

    def __str__(self) -> str:
        if not self.is_explicit:
            return self.name
        if self.bound is not None:
            return f"{self.name}{'>=' if self.rule.is_minimum else '<='}{_short(self.bound)}"
        return f"{self.name}{self.rule.suffix}<={_short(self.limit)}"


@dataclass(frozen=True)
class GateSpec:
    """What has to hold for a candidate to go on.

    `alpha` bounds the chance that a candidate that is no worse is ever rolled back, over all metrics, steps and looks together.
    `min_requests` is what a metric has to see, of its own kind, before a step may end on "nothing was found" instead of on proof.
    `cluster` is how many requests share one fate at most (those of one batch have one latency): so many count as one then.
    """

    metrics: tuple[GateMetric, ...]
    alpha: float = ALPHA
    min_requests: int = MIN_REQUESTS
    cluster: float = 1.0

    @property
    def sources(self) -> frozenset[Source]:
        """What has to be counted for it."""
        return frozenset(metric.rule.source for metric in self.metrics)

    @property
    def metric_alpha(self) -> float:
        """Each metric's part of alpha: all have the same."""
        return self.alpha / max(len(self.metrics), 1)

    def __str__(self) -> str:
        said = [f"min_requests={self.min_requests}"] if self.min_requests != MIN_REQUESTS else []
        said += [f"cluster={_short(self.cluster)}"] if self.cluster != 1 else []
        return ", ".join([*map(str, self.metrics), *said])


class GateVerdict(enum.StrEnum):
    """What a release should do now."""

    ROLL_BACK = "roll_back"
    ADVANCE = "advance"
    HOLD = "hold"


class FindingState(enum.StrEnum):
    """What is known of a metric."""

    REGRESSED = "regressed"  # proven worse than is allowed
    SAFE = "safe"  # proven no worse than is tolerated
    QUIET = "quiet"  # neither proven, but enough was seen without alarm, and the step's time is over
    OPEN = "open"  # neither proven yet
    UNASKED = "unasked"  # this step sends the candidate nothing that could show it


@dataclass(frozen=True)
class Finding:
    """A metric in numbers. `live` and `candidate` are its values over all steps (None where nothing was counted), `low` and `high` hold
    the regression (candidate less live; candidate over live, less 1, for latencies; the value itself against a bound) at all times.

    `e_value` is the evidence that the candidate is worse than allowed, and rolls back at `threshold`; `safe_e_value` is the evidence that
    it is not worse than tolerated, and is proof at `safe_threshold`. `requests` (answers, labels or pairs) were seen of the candidate;
    about `needed` more would decide (None: nothing tells). `needed_s` is that at the present rate.
    """

    metric: str
    state: FindingState
    live: float | None
    candidate: float | None
    low: float | None
    high: float | None
    e_value: float
    threshold: float
    safe_e_value: float
    safe_threshold: float
    requests: int
    needed: int | None
    needed_s: float | None
    sentence: str


@dataclass(frozen=True)
class GateDecision:
    """What the evidence says to do, and why: `sentence` for the log, `findings` one per metric in the gate's order."""

    verdict: GateVerdict
    findings: tuple[Finding, ...]
    sentence: str


@dataclass(frozen=True)
class StepFacts:
    """What the gate needs to know beside the counts: the present `step`, the candidate's share in every step by number, for how long this
    step has run, and for how long it was meant to run before it may go on without proof.
    """

    step: int
    shares: tuple[float, ...]
    elapsed_s: float
    planned_s: float


@dataclass(frozen=True)
class ArmEstimate:
    """A metric of one arm over `count` answers: `value` lies between `low` and `high` at all times with the comparison's confidence."""

    arm: str
    metric: str
    count: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True)
class ArmContrast:
    """Two arms on one metric: whether `better` is proven better than `worse`; `e_value` proves it at `threshold`. `needed` more requests
    of both together would about decide (None: they are alike, nothing tells).
    """

    metric: str
    better: str
    worse: str
    is_proven: bool
    e_value: float
    threshold: float
    needed: int | None


@dataclass(frozen=True)
class ArmsComparison:
    """An experiment's arms. `best` by metric: the arm that is proven better than every other, None where none is yet."""

    estimates: tuple[ArmEstimate, ...]
    contrasts: tuple[ArmContrast, ...]
    best: dict[str, str | None]
    confidence: float
    sentence: str


def parse_gate(text: str, alpha: float = ALPHA, *, min_requests: int = MIN_REQUESTS, cluster: float = 1.0) -> GateSpec:
    """Parse metrics separated by commas, and what may stand beside them; raises SpecError."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    beside = {match["name"]: _number(match["value"], item) for item in items if (match := _BESIDE.fullmatch(item))}
    least, shared = beside.get("min_requests", min_requests), beside.get("cluster", cluster)
    if not (isinstance(alpha, int | float) and 0 < alpha <= 0.5):
        raise SpecError(f"A gate's alpha lies above 0 and is at most 0.5, not {alpha}.", hint="0.01: one false roll-back in 100 at most.")
    if least < 1 or least != int(least) or not 1 <= shared < math.inf:
        raise SpecError(f"A gate needs at least 1 request and clusters of at least 1, not {least} and {shared}.", hint="Leave them out.")
    metrics = tuple(_metric(item) for item in items if not _BESIDE.fullmatch(item))
    if not metrics:
        raise SpecError("The gate names no metric.", hint=_EXAMPLE)
    said = [(metric.name, metric.bound is None) for metric in metrics]
    for place, one in enumerate(said):
        if one in said[:place]:
            raise SpecError(f"The gate names {one[0]} twice.", hint="Keep the stricter one.")
    return GateSpec(metrics, float(alpha), int(least), float(shared))


def _metric(item: str) -> GateMetric:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise SpecError(f"Cannot read '{item[:64]}' in the gate.", hint=_EXAMPLE)
    rule, is_relative = _rule(match["name"], item)
    if match["value"] is None:
        if is_relative:
            raise SpecError(f"'{item}' does not say how much.", hint=f"Write {item}<={rule.tolerance:g}, or {rule.name} alone.")
        return GateMetric(rule.name, rule.default_bound, rule.limit, rule.tolerance)
    right = ">=" if rule.is_minimum and not is_relative else "<="
    if match["op"] != right:
        raise SpecError(f"'{item}' uses '{match['op']}'.", hint=f"Use {match['name']}{right}{match['value']}.")
    bound = _number(match["value"], item)
    _check_bound(rule, bound, item, is_relative=is_relative)
    if is_relative:
        return GateMetric(rule.name, None, bound, bound, is_explicit=True)
    return GateMetric(rule.name, bound, is_explicit=True)


def _rule(name: str, item: str) -> tuple[MetricRule, bool]:
    if name in RULES:
        return RULES[name], False
    base = name.removesuffix("_rise").removesuffix("_drop")
    rule = RULES.get(base)
    if rule is None:
        known = {*RULES, *_ALIASES}
        near = _ALIASES.get(base) or next(iter(difflib.get_close_matches(base, known, 1, 0.4)), "")
        near = _ALIASES.get(near, near)
        meant = f"Did you mean {near}? " if near else ""
        raise SpecError(f"The gate names an unknown metric: '{item[:64]}'.", hint=f"{meant}A gate knows {', '.join(RULES)}.")
    if rule.default_bound is not None:
        raise SpecError(f"'{item}': {rule.name} compares two answers already.", hint=f"Write {rule.name}<={rule.default_bound:g}.")
    if not name.endswith(rule.suffix):
        raise SpecError(f"'{item}': a worse {rule.name} is written {rule.name}{rule.suffix}.", hint=_EXAMPLE)
    return rule, True


def _short(number: float) -> str:
    text = f"{number:.15g}"
    return text if float(text) == number else repr(number)


def _number(value: str, item: str) -> float:
    try:
        number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        raise SpecError(f"'{value[:32]}' in '{item[:64]}' is not a number.", hint=_EXAMPLE) from None
    if not math.isfinite(number):
        raise SpecError(f"'{item[:64]}' bounds nothing.", hint="Give a finite number.")
    return number


def _check_bound(rule: MetricRule, bound: float, item: str, *, is_relative: bool) -> None:
    if is_relative:
        high = 10.0 if rule.is_ratio else 1.0
        if not 0 <= bound < high:
            raise SpecError(f"'{item}': what is tolerated lies between 0 and {high:g}.", hint="Percentages are written 10% or 0.1.")
        return
    if rule.is_ratio:
        if not 0 < bound <= 3_600_000:
            raise SpecError(f"'{item}': a latency lies above 0 ms, at most an hour.", hint=_EXAMPLE)
    elif not 0 < bound < 1:
        raise SpecError(f"'{item}': {rule.name} is a share above 0 and below 1.", hint="Percentages are written 2% or 0.02.")
