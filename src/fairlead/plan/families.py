"""The coarse families of compressed candidates: which are worth trying for a promise, in which order, and which cannot keep it. Pure.

Takes the promise and Means (which passes there are, which rows, what is known of the model); gives Outlooks in their order and the families
that are ruled out, each with its reason. Ruled out is only what no measurement could save. The search tries settings and combinations; this
is the order in which a person would begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.core.conversion import ENGINE_OF_FORM, RuntimeForm
from fairlead.core.facts import ModelFacts
from fairlead.core.outlook import Outlook
from fairlead.core.pass_use import parse_passes
from fairlead.core.plan import Candidate
from fairlead.core.requirement import MetricKind, Requirement

_ENGINE = ENGINE_OF_FORM[RuntimeForm.ONNX]
_INT8_SETS = frozenset({"AVX-512-VNNI", "AVX-VNNI", "AMX-INT8", "NEON-DOT", "I8MM"})
_ROWS = "the rows decide whether that is little enough"


@dataclass(frozen=True)
class Means:
    """What there is to compress with. `passes` are the names of those that are installed; `model` is None where it was not looked into.
    `kept` are names of requirements that the model keeps as it is: they press for nothing. `size_bytes` of its file, 0 where not known:
    what there is to compress of trees, which have no weights.
    """

    passes: frozenset[str] = frozenset()
    has_rows: bool = True
    has_training: bool = False
    model: ModelFacts | None = None
    instruction_sets: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    size_bytes: int = 0

    @property
    def is_trees(self) -> bool:
        """Whether the model is known to be an ensemble of trees."""
        return self.model is not None and self.model.tree_count > 0

    @property
    def weight_bytes(self) -> int:
        """Bytes that compression is about: weights, or the file of an ensemble of trees; 0 where not known."""
        if self.model is None or self.is_trees:
            return self.size_bytes
        return self.model.parameter_bytes


@dataclass(frozen=True)
class _Family:
    """`size_ratio` of the weights that stays, about (0: unknown); `floor_ratio` what stays at the very least, whatever the model (0:
    unknown). `loss` orders families from gentle to harsh.
    """

    name: str
    passes: str
    suits: Literal["network", "trees", "any"]
    size_ratio: float
    floor_ratio: float
    loss: int
    helps_speed: Literal["yes", "no", "int8"]
    speed: str
    loses: str
    reason: str
    needs_training: bool = False
    needs_rows: bool = False


_SAME = "as fast as before: the runtime unfolds the weights when it loads"
_FAMILIES = (
    _Family(
        *("store-fp16", "store_fp16", "network", 0.5, 0.5, 1, "no", _SAME),
        loses=f"weights keep 11 bits; {_ROWS}",
        reason="half the size for almost nothing",
    ),
    _Family(
        *("store-int8", "store_int8", "network", 0.26, 0.25, 2, "no", _SAME),
        loses=f"weights keep 8 bits; {_ROWS}",
        reason="a quarter of the size, and the arithmetic stays in floats",
    ),
    _Family(
        *("store-int4", "store_int4", "network", 0.16, 0.125, 5, "no", _SAME),
        loses=f"weights keep 4 bits; {_ROWS}",
        reason="a seventh of the size",
    ),
    _Family(
        *("quantize-static-int8", "quantize_static_int8", "network", 0.26, 0.25, 4, "int8", "integer arithmetic"),
        loses=f"weights and values between layers keep 8 bits; {_ROWS}",
        reason="a quarter of the size, and faster where the processor multiplies 8-bit integers",
        needs_rows=True,
    ),
    _Family(
        *("quantize-dynamic-int8", "quantize_dynamic_int8", "network", 0.26, 0.25, 3, "int8", "integer arithmetic in matrix products"),
        loses=f"weights keep 8 bits, values are rounded by the batch that they come in; {_ROWS}",
        reason="a quarter of the size without rows to calibrate on",
    ),
    _Family(
        *("factorize-dense", "factorize_dense", "network", 0.6, 0.0, 3, "yes", "fewer multiplications in dense layers"),
        loses=f"directions that the inputs of dense layers hardly use; {_ROWS}",
        reason="dense layers fall into two thin ones where their inputs use few directions",
    ),
    _Family(
        *("quantize-mixed-int8", "quantize_mixed_int8", "network", 0.35, 0.25, 3, "int8", "integer arithmetic where it costs little"),
        loses=f"8 bits in the layers that bear it; {_ROWS}",
        reason="layers that would cost accuracy stay in floats",
        needs_rows=True,
    ),
    _Family(
        *("train-int8", "train_int8", "network", 0.26, 0.25, 5, "int8", "integer arithmetic"),
        loses=f"weights and values between layers keep 8 bits, and the model was trained with that; {_ROWS}",
        reason="where rounding alone loses too much, training with it gains most of that back",
        needs_training=True,
    ),
    _Family(
        *("prune-structured", "prune_structured(ratio=0.5)", "network", 0.3, 0.0, 6, "yes", "about a third of the arithmetic"),
        loses=f"half of the channels and units, trained again; {_ROWS}",
        reason="whole channels go: the one compression that makes it smaller and faster at once",
        needs_training=True,
    ),
    _Family(
        *(
            "prune-structured-store-int8",
            "prune_structured(ratio=0.75),store_int8",
            "network",
            0.03,
            0.0,
            8,
            "yes",
            "a tenth of the arithmetic",
        ),
        loses=f"three quarters of the channels and units, and weights keep 8 bits; {_ROWS}",
        reason="the smallest of all where few channels carry the answer",
        needs_training=True,
    ),
    _Family(
        *("distill-network", "distill_network", "network", 0.3, 0.0, 7, "yes", "about a third of the arithmetic"),
        loses=f"a network of half the width learns the answers; {_ROWS}",
        reason="where cutting loses too much, a student that learns from the whole may not",
        needs_training=True,
    ),
    _Family(
        *("distill-strided", "distill_strided", "network", 0.3, 0.0, 7, "yes", "fewer operators, each with less to do"),
        loses=f"a network without poolings, half as wide, learns the answers; {_ROWS}",
        reason="small convolutional networks spend much of a call between their operators",
        needs_training=True,
    ),
    _Family(
        *("share-thresholds", "share_thresholds", "trees", 0.9, 0.0, 1, "no", "about as fast as before"),
        loses=f"thresholds move to one that lies near; {_ROWS}",
        reason="fewer different numbers pack better, and splits become equal",
        needs_rows=True,
    ),
    _Family(
        *("shorten-ensemble", "shorten_ensemble", "trees", 0.5, 0.0, 3, "yes", "in proportion to the trees that stay"),
        loses=f"half of the trees; {_ROWS}",
        reason="late trees of a boosted ensemble correct little, and trees of a forest say much the same",
        needs_rows=True,
    ),
    _Family(
        *("prune-trees", "prune_trees", "trees", 0.5, 0.0, 4, "yes", "in proportion to what stays"),
        loses=f"half of the splits; {_ROWS}",
        reason="most leaves of deep trees decide next to nothing",
        needs_rows=True,
    ),
    _Family(
        *("distill-trees", "distill_trees", "any", 0.0, 0.0, 8, "yes", "as its student is"),
        loses=f"a few trees learn the answers; {_ROWS}",
        reason="where cutting loses too much, a few trees of their own shape may not",
        needs_rows=True,
    ),
    _Family(
        *("distill-linear", "distill_linear", "any", 0.0, 0.0, 9, "yes", "one multiplication per column"),
        loses=f"a linear model learns the answers; {_ROWS}",
        reason="the smallest and fastest student there is",
        needs_rows=True,
    ),
)


def compressed(
    requirements: Sequence[Requirement], means: Means, *, weight_bytes: int, is_trees: bool
) -> tuple[tuple[Outlook, ...], tuple[tuple[str, str], ...]]:
    """Return the families worth trying, the first one first, and (name, reason) of those ruled out. `weight_bytes` are the model's, about;
    0 where they are not known.
    """
    suiting = [item for item in _FAMILIES if item.suits in ("any", "trees" if is_trees else "network") and _is_installed(item, means)]
    if not any(item.is_loss_bound for item in requirements):
        why = "nothing in the promise says what may be lost; say it, for example accuracy_drop<=0.005"
        return (), (("compressed forms", why),) if suiting else ()
    size_bounds = [item for item in requirements if item.kind is MetricKind.SIZE]
    is_timed = any(item.kind in (MetricKind.LATENCY, MetricKind.THROUGHPUT) and item.name not in means.kept for item in requirements)
    has_int8 = bool(_INT8_SETS & set(means.instruction_sets))
    kept, refused = [], []
    for family in suiting:
        reason = _ruled_out(family, means, size_bounds)
        if reason:
            refused.append((family.name, reason))
        else:
            kept.append(family)
    kept.sort(key=lambda family: _rank(family, size_bounds, weight_bytes, is_timed=is_timed, has_int8=has_int8))
    return tuple(_outlook(family, weight_bytes, has_int8=has_int8) for family in kept), tuple(refused)


def _is_installed(family: _Family, means: Means) -> bool:
    return all(use.name in means.passes for use in parse_passes(family.passes))


def _ruled_out(family: _Family, means: Means, size_bounds: Sequence[Requirement]) -> str:
    """Return why no measurement could save the family, "" where one could."""
    if family.needs_training and not means.has_training:
        return "it trains, and there are no rows to train on: --train rows.npz"
    if family.needs_rows and not means.has_rows:
        return "it measures ranges on rows, and there are none: --data rows.npz"
    for bound in size_bounds:
        least = family.floor_ratio * means.model.parameter_bytes if means.model is not None else 0.0
        if least > bound.bound * 1e6:
            return f"'{bound}' is out of its reach: {family.floor_ratio:g} of the weights are {least / 1e6:.3g} MB"
    return ""


def _rank(
    family: _Family, size_bounds: Sequence[Requirement], weight_bytes: int, *, is_timed: bool, has_int8: bool
) -> tuple[bool, bool, int]:
    is_too_large = any(family.size_ratio * weight_bytes > bound.bound * 1e6 for bound in size_bounds)
    helps = family.helps_speed == "yes" or (family.helps_speed == "int8" and has_int8)
    return (is_too_large, is_timed and not helps, family.loss)


def _outlook(family: _Family, weight_bytes: int, *, has_int8: bool) -> Outlook:
    candidate = Candidate(family.name, tuple(str(use) for use in parse_passes(family.passes)), _ENGINE, 1, family.reason)
    speed = family.speed
    if family.helps_speed == "int8":
        speed += ": faster here" if has_int8 else ": this processor has no instruction for it; small networks get slower"
    size = round(family.size_ratio * weight_bytes) or None
    return Outlook(candidate, family.loses, size, None, is_latency_measured=False, speed=speed)
