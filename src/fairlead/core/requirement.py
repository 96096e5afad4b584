"""Requirements: what a deployment has to keep, typed and with units, and the one grammar that --require and fairlead.yaml share.

    accuracy>=0.95            a quality floor          accuracy_drop<=0.005     lost against the original, at most
    rmse<=3.2                 an error ceiling         rmse_rise<=0.1           gained against the original, at most
    p99_ms<=10                latency at batch 1       p99_ms@32<=40            latency at batch 32
    throughput_rps>=500       rows per second          size_mb<=2               bytes on disk / 10^6
    memory_mb<=200            peak memory              shop.metrics:profit>=10  any pkg.module:function(y_true, y_pred)
    decision_flips<=0         rows that are decided otherwise   cores<=2      CPU cores one replica may use
    ece<=0.02                 calibration error        ece_rise<=0.005          gained against the original, at most
    explanation_agreement>=0.9                         how alike the two models' reasons are (rank correlation)

Pure. Raises RequirementError with what was understood and what would have been right.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.errors import RequirementError


class Direction(enum.StrEnum):
    """Whether a larger or a smaller value is better."""

    HIGHER = "higher"
    LOWER = "lower"


class MetricKind(enum.StrEnum):
    """What has to be measured to know the value."""

    QUALITY = "quality"  # from decisions or scores and labels; needs data with a target
    PARITY = "parity"  # from the answers of original and candidate on the same rows
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    MEMORY = "memory"
    HARDWARE = "hardware"  # a limit on what may be used, not something measured


@dataclass(frozen=True)
class MetricSpec:
    """A metric that can be required. `low` and `high` bound its meaningful values."""

    name: str
    kind: MetricKind
    better: Direction
    unit: str
    low: float = 0.0
    high: float = math.inf
    sentence: str = ""


_SPECS = (
    MetricSpec("accuracy", MetricKind.QUALITY, Direction.HIGHER, "", high=1.0, sentence="share of right decisions"),
    MetricSpec(
        "f1",
        MetricKind.QUALITY,
        Direction.HIGHER,
        "",
        high=1.0,
        sentence="harmonic mean of precision and recall: of the positive class for two classes, else averaged over classes",
    ),
    MetricSpec(
        "auc",
        MetricKind.QUALITY,
        Direction.HIGHER,
        "",
        high=1.0,
        sentence="area under the ROC curve; one-vs-rest macro average for more than two classes",
    ),
    MetricSpec(
        "ece",
        MetricKind.QUALITY,
        Direction.LOWER,
        "",
        high=1.0,
        sentence="expected calibration error: how far probabilities are from the share of rows that they come true for",
    ),
    MetricSpec("rmse", MetricKind.QUALITY, Direction.LOWER, "", sentence="root mean squared error, in the target's unit"),
    MetricSpec("mae", MetricKind.QUALITY, Direction.LOWER, "", sentence="mean absolute error, in the target's unit"),
    MetricSpec("decision_flips", MetricKind.PARITY, Direction.LOWER, "rows", sentence="rows whose decision differs from the original's"),
    MetricSpec(
        "explanation_agreement",
        MetricKind.PARITY,
        Direction.HIGHER,
        "",
        low=-1.0,
        high=1.0,
        sentence="rank correlation of what both models' answers hang on, mean over rows",
    ),
    MetricSpec("max_abs_diff", MetricKind.PARITY, Direction.LOWER, "", sentence="largest difference of any output from the original's"),
    MetricSpec("p50_ms", MetricKind.LATENCY, Direction.LOWER, "ms", sentence="median latency of one call"),
    MetricSpec("p95_ms", MetricKind.LATENCY, Direction.LOWER, "ms", sentence="95th percentile of the latency of one call"),
    MetricSpec("p99_ms", MetricKind.LATENCY, Direction.LOWER, "ms", sentence="99th percentile of the latency of one call"),
    MetricSpec("throughput_rps", MetricKind.THROUGHPUT, Direction.HIGHER, "rows/s", sentence="rows per second, one call after the other"),
    MetricSpec("size_mb", MetricKind.SIZE, Direction.LOWER, "MB", sentence="bytes of the model file / 10^6"),
    MetricSpec(
        "memory_mb",
        MetricKind.MEMORY,
        Direction.LOWER,
        "MB",
        sentence="peak memory of a process that runs it, less that of one that does not, / 10^6",
    ),
    MetricSpec("cores", MetricKind.HARDWARE, Direction.LOWER, "cores", sentence="CPU cores that one replica may use"),
)
METRICS = {spec.name: spec for spec in _SPECS}
_DIGITS = 14  # that a difference of two numbers keeps
_COUNTED = ("decision_flips", "cores")
_ALIASES = {"throughput": "throughput_rps", "roc_auc": "auc", "f1_score": "f1", "rps": "throughput_rps"}
_GRAMMAR = re.compile(
    r"^\s*(?P<metric>[A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)\s*(?:@\s*(?P<batch>[0-9]{1,9}))?\s*(?P<op><=|>=|==|=|<|>)\s*(?P<value>\S+)\s*$"
)
_EXAMPLE = "Write it like accuracy>=0.95, accuracy_drop<=0.005 or p99_ms@32<=40."


@dataclass(frozen=True)
class Requirement:
    """`metric` (measured at `batch` rows where that matters) must be at least or at most `bound`.

    With `is_relative`, the bound is on how much worse the candidate is than the original (`_drop`, or `_rise` with `is_rise`, where a
    larger value is worse), in the metric's unit. A metric with a colon, `pkg.module:function`, is the user's own:
    function(y_true, y_pred) -> float.
    """

    metric: str
    bound: float
    is_minimum: bool
    is_relative: bool = False
    batch: int = 1
    is_rise: bool = False

    @property
    def is_custom(self) -> bool:
        """Whether the metric is the user's own function."""
        return ":" in self.metric

    @property
    def kind(self) -> MetricKind:
        """What has to be measured."""
        return MetricKind.QUALITY if self.is_custom else METRICS[self.metric].kind

    @property
    def is_loss_bound(self) -> bool:
        """Whether it says what a compressed model may lose: a quality, or how far answers may be from the original's."""
        return self.kind is MetricKind.QUALITY or self.metric in ("decision_flips", "max_abs_diff")

    @property
    def name(self) -> str:
        """The left side as the user writes it, e.g. `accuracy_drop` or `p99_ms@32`."""
        return f"{self.metric}{self._suffix}{f'@{self.batch}' if self.batch != 1 else ''}"

    @property
    def _suffix(self) -> str:
        if not self.is_relative:
            return ""
        return "_rise" if self.is_rise else "_drop"

    @property
    def is_idle(self) -> bool:
        """Whether every model keeps it: its bound is the metric's own end."""
        return not self.is_custom and self.bound == (METRICS[self.metric].low if self.is_minimum else METRICS[self.metric].high)

    def is_met(self, measured: float) -> bool:
        """Whether `measured` keeps the bound; NaN never does."""
        return measured >= self.bound if self.is_minimum else measured <= self.bound

    def __str__(self) -> str:
        short = f"{self.bound:.15g}"
        return f"{self.name}{'>=' if self.is_minimum else '<='}{short if float(short) == self.bound else repr(self.bound)}"


def loss(original: float, candidate: float, *, is_rise: bool) -> float:
    """Return how much worse the candidate is, in the metric's unit, without the noise of a subtraction: 0.98 less 0.975 is 0.005.

    `is_rise`: a larger value is worse.
    """
    difference = candidate - original if is_rise else original - candidate
    scale = max(abs(original), abs(candidate))
    if not (math.isfinite(difference) and scale):
        return difference
    return round(difference, _DIGITS - math.ceil(math.log10(scale)))


def parse_requirement(text: str) -> Requirement:
    """Parse one requirement; raises RequirementError. `str()` of the result parses to the same value."""
    match = _GRAMMAR.match(text)
    if match is None:
        raise RequirementError(f"Cannot read the requirement '{text}'.", hint=_EXAMPLE)
    metric, is_relative = _resolve(match["metric"], text)
    operator = match["op"]
    if operator not in ("<=", ">="):
        better = "<=" if is_relative or (":" not in metric and METRICS[metric].better is Direction.LOWER) else ">="
        raise RequirementError(f"'{text}' uses '{operator}'.", hint=f"Use {match['metric']}{better}{match['value']}.")
    is_rise = is_relative and match["metric"].endswith("_rise")
    requirement = Requirement(metric, _number(match["value"], text), operator == ">=", is_relative, int(match["batch"] or 1), is_rise)
    _check_meaning(requirement, text, has_batch=match["batch"] is not None)
    return requirement


def parse_requirements(texts: Iterable[str]) -> tuple[Requirement, ...]:
    """Parse all and refuse contradictions (a floor above a ceiling) and doubles; raises RequirementError."""
    seen: dict[tuple[str, bool], Requirement] = {}
    for text in texts:
        requirement = parse_requirement(text)
        key = (requirement.name, requirement.is_minimum)
        if key in seen and seen[key] != requirement:
            raise RequirementError(f"'{seen[key]}' and '{requirement}' bound the same thing twice.", hint="Keep one of them.")
        seen[key] = requirement
    _check_contradictions(seen)
    return tuple(seen.values())


def _check_contradictions(seen: dict[tuple[str, bool], Requirement]) -> None:
    for (name, is_minimum), floor in seen.items():
        ceiling = seen.get((name, False))
        if is_minimum and ceiling is not None and floor.bound > ceiling.bound:
            raise RequirementError(f"'{floor}' and '{ceiling}' contradict each other: no value keeps both.", hint="Drop or change one.")


def _resolve(name: str, text: str) -> tuple[str, bool]:
    """Return the metric's name and whether the bound is relative to the original."""
    base, is_relative = name, False
    for suffix in ("_drop", "_rise"):
        if name.endswith(suffix):
            base, is_relative = name.removesuffix(suffix), True
    base = _ALIASES.get(base, base)
    if ":" in base:
        return base, is_relative
    if base not in METRICS:
        near = difflib.get_close_matches(base, [*METRICS, *_ALIASES], n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(METRICS)}, or your own as package.module:function."
        raise RequirementError(f"Unknown metric '{name}' in '{text}'.", hint=hint)
    spec = METRICS[base]
    if is_relative and spec.kind is not MetricKind.QUALITY:
        raise RequirementError(f"'{text}': {base} cannot be compared with the original's.", hint=f"Bound it itself: {base}<=....")
    if is_relative:
        right = "_drop" if spec.better is Direction.HIGHER else "_rise"
        if not name.endswith(right):
            raise RequirementError(
                f"'{text}': a larger {base} is {'better' if right == '_drop' else 'worse'}.", hint=f"Use {base}{right}<=...."
            )
    return base, is_relative


def _number(value: str, text: str) -> float:
    percent = value.endswith("%")
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        raise RequirementError(f"'{value}' in '{text}' is not a number.", hint=_EXAMPLE) from None
    if not math.isfinite(number):
        raise RequirementError(f"'{value}' in '{text}' bounds nothing.", hint="Give a finite number.")
    return number / 100 if percent else number


def _check_meaning(requirement: Requirement, text: str, *, has_batch: bool) -> None:
    if requirement.is_relative and requirement.is_minimum:
        raise RequirementError(
            f"'{text}' asks for a loss of at least {requirement.bound:g}.", hint=f"Use {requirement.name}<={requirement.bound:g}."
        )
    if requirement.is_relative and requirement.bound < 0:
        raise RequirementError(f"'{text}': a loss below zero asks for a gain.", hint="Use 0 or more.")
    if has_batch and requirement.kind not in (MetricKind.LATENCY, MetricKind.THROUGHPUT):
        raise RequirementError(f"'{text}': {requirement.metric} has no batch size.", hint="Only latency and throughput take @rows.")
    if requirement.batch < 1 or requirement.batch > 65_536:
        raise RequirementError(f"'{text}': a batch has 1 to 65536 rows.", hint=_EXAMPLE)
    if requirement.is_custom:
        return
    spec = METRICS[requirement.metric]
    if not requirement.is_relative and requirement.is_minimum != (spec.better is Direction.HIGHER):
        right = ">=" if spec.better is Direction.HIGHER else "<="
        raise RequirementError(
            f"'{text}' asks for a bad {spec.name} ({spec.sentence}).", hint=f"Use {spec.name}{right}{requirement.bound:g}."
        )
    _check_range(requirement, text, spec)


def _check_range(requirement: Requirement, text: str, spec: MetricSpec) -> None:
    """Refuse bounds outside of what the metric can be, those that nothing keeps, and those that everything keeps."""
    bound = requirement.bound
    if not spec.low <= bound <= spec.high:
        raise RequirementError(
            f"'{text}': {spec.name} lies between {spec.low:g} and {spec.high:g}.", hint="Percentages are written 95% or 0.95."
        )
    if spec.name in _COUNTED and not bound.is_integer():
        raise RequirementError(f"'{text}': {spec.unit} are counted.", hint=f"Give a whole number: {spec.name}<={math.ceil(bound)}.")
    if requirement.is_idle:
        raise RequirementError(f"'{text}' bounds nothing: every model keeps it.", hint="Say what has to hold, or leave it out.")
    is_measured = spec.kind not in (MetricKind.PARITY, MetricKind.QUALITY)
    if not requirement.is_relative and bound == spec.low and spec.better is Direction.LOWER and is_measured:
        raise RequirementError(f"'{text}': nothing runs in zero {spec.unit}.", hint="Give a positive bound.")
