"""The index of passes: name -> function(PassJob) -> PassResult, and what each may do, needs and can be set to. Imports nothing heavy."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.core.catalog import Catalog, Variant
from fairlead.core.pass_use import PassUse, Setting
from fairlead.errors import SpecError


class PassKind(enum.StrEnum):
    """What a pass may do to answers."""

    EXACT = "exact"  # every bit stays
    BOUNDED = "bounded"  # the same computation in another order: differences like those between two machines
    LOSSY = "lossy"  # another computation: the user's rows decide whether it is good enough


@dataclass(frozen=True)
class PassTraits:
    """`tolerance` is the difference to be expected, absolute below 1 and relative above: what a candidate with this pass is held to.

    `settings` are the values worth trying of each setting, the default first; a pass may take others, and refuses those that make no sense.
    """

    kind: PassKind
    tolerance: float
    needs_rows: bool = False
    needs_training: bool = False
    settings: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)


PASSES = Catalog(
    kind="pass",
    group="fairlead.passes",
    variants={
        name: Variant(f"fairlead.optimize.passes.{name}:{name}")
        for name in (
            "clean_graph",
            "optimize_graph",
            "store_fp16",
            "store_int8",
            "store_int4",
            "quantize_dynamic_int8",
            "quantize_static_int8",
            "quantize_mixed_int8",
            "quantize_weights_nbits",
            "factorize_dense",
            "merge_splits",
            "merge_trees",
            "share_thresholds",
            "round_leaves",
            "prune_trees",
            "shorten_ensemble",
            "refit_leaves",
            "distill_trees",
            "distill_linear",
        )
    }
    | {
        name: Variant(f"fairlead.optimize.passes.{name}:{name}", "torch")
        for name in ("prune_structured", "prune_magnitude", "cluster_weights", "distill_network", "distill_strided", "train_int8")
    }
    | {"slim_graph": Variant("fairlead.optimize.passes.slim_graph:slim_graph", "slim")}
    | {"train_tfmot": Variant("fairlead.optimize.passes.train_tfmot:train_tfmot", "tfmot")},
)

_TFMOT_METHODS = ("prune", "cluster", "quantize", "prune_cluster", "prune_quantize", "cluster_quantize", "prune_cluster_quantize")
_FIT: Mapping[str, tuple[Setting, ...]] = {"epochs": (24,), "teacher": (0.5,)}  # of every pass that trains

_TRAITS: Mapping[str, PassTraits] = {
    "clean_graph": PassTraits(PassKind.EXACT, 0.0),
    "optimize_graph": PassTraits(PassKind.BOUNDED, 1e-5),
    "slim_graph": PassTraits(PassKind.BOUNDED, 1e-5),
    "store_fp16": PassTraits(PassKind.LOSSY, 1e-2),
    "store_int8": PassTraits(PassKind.LOSSY, 0.1),
    "store_int4": PassTraits(PassKind.LOSSY, 0.25, settings={"block": (32, 16, 64)}),
    "quantize_dynamic_int8": PassTraits(
        PassKind.LOSSY,
        0.1,
        settings={"operators": ("matmul", "embedding", "all"), "per_channel": (True, False), "weight_bits": (7,)},
    ),
    "quantize_weights_nbits": PassTraits(
        PassKind.LOSSY,
        0.25,
        settings={"bits": (8, 4), "block": (128, 32), "least_elements": (2**18,)},
    ),
    "factorize_dense": PassTraits(PassKind.LOSSY, 0.25, settings={"energy": (0.99, 0.999, 0.995, 0.98), "rank_ratio": (0.0,)}),
    "quantize_mixed_int8": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_rows=True,
        settings={
            "max_error": (0.02, 0.005, 0.05),
            "float_layers": (-1,),
            "method": ("minmax", "percentile", "mse", "entropy"),
            "per_channel": (True,),
            "weight_bits": (7,),
        },
    ),
    "quantize_static_int8": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_rows=True,
        settings={
            "method": ("minmax", "percentile", "mse", "entropy"),
            "operators": ("all", "conv", "matmul"),
            "per_channel": (True, False),
            "weight_bits": (7,),
        },
    ),
    "prune_magnitude": PassTraits(
        PassKind.LOSSY, 0.25, needs_training=True, settings={"sparsity": (0.8, 0.5, 0.9, 0.95), "scope": ("global",), **_FIT}
    ),
    "cluster_weights": PassTraits(PassKind.LOSSY, 0.25, needs_training=True, settings={"k": (16, 8, 32, 64), **_FIT}),
    "distill_network": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_training=True,
        settings={"width": (0.5, 0.25, 0.75), "student": ("same",), "start": ("pruned",), "hidden": (32,), **_FIT},
    ),
    "distill_strided": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_training=True,
        settings={"width": (0.5, 0.25, 0.75), "depth": (1, 2, 3), "shifts": (4,), "epochs": (12,), "teacher": (0.5,)},
    ),
    "train_int8": PassTraits(PassKind.LOSSY, 0.25, needs_training=True, settings={"weight_bits": (7,), "epochs": (8,), "teacher": (0.5,)}),
    "prune_structured": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_training=True,
        settings={"ratio": (0.5, 0.25, 0.75, 0.9), "importance": ("taylor",), "lasso": (0.0,), **_FIT},
    ),
    "merge_splits": PassTraits(PassKind.EXACT, 0.0),
    "merge_trees": PassTraits(PassKind.BOUNDED, 1e-5),
    "share_thresholds": PassTraits(PassKind.LOSSY, 0.1, needs_rows=True, settings={"levels": (0, 64, 16)}),
    "round_leaves": PassTraits(PassKind.LOSSY, 0.1, settings={"bits": (8, 6, 12)}),
    "prune_trees": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_rows=True,
        settings={"keep": (0.5, 0.25, 0.1, 0.05), "aim": ("size", "speed"), "refit": (True, False)},
    ),
    "shorten_ensemble": PassTraits(
        PassKind.LOSSY, 0.25, needs_rows=True, settings={"keep": (0.5, 0.25, 0.1, 0.05), "refit": (True, False)}
    ),
    "refit_leaves": PassTraits(PassKind.LOSSY, 0.25, needs_training=True, settings={"ridge": (1.0, 10.0)}),
    "distill_trees": PassTraits(
        PassKind.LOSSY, 0.25, needs_rows=True, settings={"trees": (50, 20, 100, 200), "depth": (4, 3, 6), "mixed": (2, 0, 4)}
    ),
    "distill_linear": PassTraits(PassKind.LOSSY, 0.25, needs_rows=True, settings={"ridge": (1e-3, 1e-2, 1e-4), "mixed": (2, 0)}),
    "train_tfmot": PassTraits(
        PassKind.LOSSY,
        0.25,
        needs_training=True,
        settings={
            "method": _TFMOT_METHODS,
            "sparsity": (0.8, 0.5, 0.9),
            "cluster_count": (16, 32),
            "epochs": (4,),
            "learning_rate": (1e-3,),
        },
    ),
}


def traits_of(name: str) -> PassTraits:
    """Return what the pass called `name` may do; one that an entry point added is taken for the worst."""
    return _TRAITS.get(name, PassTraits(PassKind.LOSSY, 0.25))


def is_lossy(uses: Iterable[PassUse]) -> bool:
    """Whether one of the passes makes another computation: only then there is anything to lose."""
    return any(traits_of(use.name).kind is PassKind.LOSSY for use in uses)


def complete_settings(use: PassUse) -> dict[str, Setting]:
    """Return every setting of the pass, the user's or the default; raises SpecError for one that it does not have or of another type.

    A pass that an entry point added takes whatever it is given.
    """
    if use.name not in _TRAITS:
        return dict(use.settings)
    known = _TRAITS[use.name].settings
    complete = {name: values[0] for name, values in known.items()}
    for name, value in use.settings.items():
        if name not in known:
            listed = f"It has: {', '.join(known)}." if known else "It has no settings."
            raise SpecError(f"The pass '{use.name}' has no setting '{name}'.", hint=listed)
        complete[name] = _fitting(use.name, name, value, known[name][0])
    return complete


def _fitting(owner: str, name: str, value: Setting, default: Setting) -> Setting:
    """Return `value` in the type of the default: a whole number serves where a fraction is meant, nothing else is turned into another."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise SpecError(f"'{name}' of the pass '{owner}' is a {type(default).__name__}, not {value!r}.", hint=f"The default is {default}.")
    return value


@dataclass(frozen=True)
class Preset:
    """What `fairlead convert --to NAME` makes: `passes` over the canonical model, then `form` (a RuntimeForm)."""

    passes: tuple[str, ...]
    form: str


PRESETS: Mapping[str, Preset] = {
    "onnx": Preset((), "onnx"),
    "onnx-fp16": Preset(("store_fp16",), "onnx"),
    "onnx-int8": Preset(("quantize_dynamic_int8",), "onnx"),
    "onnx-int8-static": Preset(("quantize_static_int8",), "onnx"),
    "onnx-optimized": Preset(("optimize_graph",), "onnx"),
    "ort": Preset((), "ort"),
    "openvino": Preset((), "openvino"),
    "openvino-fp16": Preset(("store_fp16",), "openvino"),
    "tflite": Preset((), "tflite"),
    "trees": Preset((), "trees"),
}
