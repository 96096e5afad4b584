"""The index of passes: name -> function(source: Path, destination: Path) -> PassResult. Imports nothing heavy.

A pass whose traits say `needs_rows` takes `calibration` (tensors by input name) as its third argument.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.catalog import Catalog, Variant


class PassKind(enum.StrEnum):
    """What a pass may do to answers."""

    EXACT = "exact"  # every bit stays
    BOUNDED = "bounded"  # the same computation in another order: differences like those between two machines
    LOSSY = "lossy"  # another computation: the user's rows decide whether it is good enough


@dataclass(frozen=True)
class PassTraits:
    """`tolerance` is the difference to be expected, absolute below 1 and relative above: what a candidate with this pass is held to."""

    kind: PassKind
    tolerance: float
    needs_rows: bool = False


@dataclass(frozen=True)
class PassResult:
    """What a pass did: `versions` of the libraries it used, plain `parameters`, and sentences for the report."""

    versions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


PASSES = Catalog(
    kind="pass",
    group="fairlead.passes",
    variants={
        name: Variant(f"fairlead.optimize.passes.{name}:{name}")
        for name in ("clean_graph", "optimize_graph", "cast_fp16", "quantize_dynamic_int8", "quantize_static_int8")
    },
)

_TRAITS: Mapping[str, PassTraits] = {
    "clean_graph": PassTraits(PassKind.EXACT, 0.0),
    "optimize_graph": PassTraits(PassKind.BOUNDED, 1e-5),
    "cast_fp16": PassTraits(PassKind.LOSSY, 1e-2),
    "quantize_dynamic_int8": PassTraits(PassKind.LOSSY, 0.1),
    "quantize_static_int8": PassTraits(PassKind.LOSSY, 0.25, needs_rows=True),
}


def traits_of(name: str) -> PassTraits:
    """Return what the pass called `name` may do; one that an entry point added is taken for the worst."""
    return _TRAITS.get(name, PassTraits(PassKind.LOSSY, 0.25))


@dataclass(frozen=True)
class Preset:
    """What `fairlead convert --to NAME` makes: `passes` over the canonical model, then `form` (a RuntimeForm)."""

    passes: tuple[str, ...]
    form: str


PRESETS: Mapping[str, Preset] = {
    "onnx": Preset((), "onnx"),
    "onnx-fp16": Preset(("cast_fp16",), "onnx"),
    "onnx-int8": Preset(("quantize_dynamic_int8",), "onnx"),
    "onnx-int8-static": Preset(("quantize_static_int8",), "onnx"),
    "onnx-optimized": Preset(("optimize_graph",), "onnx"),
    "ort": Preset((), "ort"),
    "openvino": Preset((), "openvino"),
    "openvino-fp16": Preset(("cast_fp16",), "openvino"),
    "tflite": Preset((), "tflite"),
    "trees": Preset((), "trees"),
}
