"""One layer's config, as Keras 2 or Keras 3 wrote it, in the canonical form of core.layer_kinds.

Takes a class name and a plain dict, gives kind and config. Raises LeftToKerasError where Keras itself would be needed (an unknown layer or
option), UnsupportedError where the meaning is known to differ. An option that nobody here knows is never dropped silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.interface import shorten
from fairlead.core.layer_kinds import IDENTITY_KINDS, KNOWN_KINDS, LayerKind, kind_problem
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.keras_names import LAYER_ALIASES

_KERAS_HINT = "Install Keras to convert it: pip install 'fairlead[keras]'"
_DAMAGED = "The file is damaged or was not written by Keras. Save the model again."

# These say how to train, how to compute the same thing in another way, or what to do with a mask (there are none: see core.layer_kinds).
_TRAINING = re.compile(
    r"name|trainable|dtype|seed|rate|stddev|l1|l2|noise_shape|dropout|recurrent_dropout|unit_forget_bias|unroll|implementation|momentum"
    r"|synchronized|renorm_clipping|renorm_momentum|fused|flash_attention|query_shape|key_shape|value_shape|softmax_robust_masking"
    r"|use_cudnn|zero_output_for_mask|autocast|batch_input_shape|batch_shape|input_shape|input_length|supports_masking|activity_regularizer"
    r"|[a-z_]+_(initializer|regularizer|constraint)"
)
# These change the result unless they have this value.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "stateful": (False,), "time_major": (False,), "mask_zero": (False,), "rms_scaling": (False,),
    "use_gate": (False,), "sliding_window": (None,), "renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,),
    "quantization_config": (None,), "quantization_mode": (None,), "lora_rank": (None,), "lora_alpha": (None,), "sparse": (False,),
    "gptq_unpacked_column_size": (None,), "groups": (1,), "causal": (False,), "weights": (None,), "time_steps": (None,),
    "data_format": ("channels_last", None), "mean": (None,), "variance": (None,), "return_attention_scores": (False,),
}  # fmt: skip
_SIZES = ("kernel_size", "strides", "dilation_rate", "pool_size", "size", "output_padding")
_ACTIVATION_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_POLICIES = {
    "mixed_float16": "mixed_float16", "mixed_bfloat16": "mixed_bfloat16", "float32": "", "float16": "float16", "bfloat16": "bfloat16",
    "float64": "float64",
}  # fmt: skip


class LeftToKerasError(UnsupportedError):
    """Fairlead does not know this layer or option; Keras itself may."""

    def __init__(self, layer: str, problem: str) -> None:
        super().__init__(f"Layer '{shorten(layer)}': {problem}.", hint=_KERAS_HINT)
        self.problem = problem


@dataclass
class Translator:
    """Translates the layers of one file; `policies` collects the dtype policies other than float32 that the file names."""

    is_keras2: bool
    policies: set[str] = field(default_factory=set)

    def translate(self, class_name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return (kind, canonical config)."""
        name = str(config.get("name", class_name))
        kind = LAYER_ALIASES.get(class_name, class_name)
        known = KNOWN_KINDS.get(kind)
        if known is None:
            raise LeftToKerasError(name, f"Fairlead does not convert {kind} by itself")
        self._note_policy(name, config.get("dtype"))
        source = _renamed(kind, config)
        result: dict[str, Any] = {}
        for key, default in known.config.items():
            if key not in source and key in known.required and not (kind == "Bidirectional" and key == "backward_layer"):
                raise SourceError(f"Layer '{shorten(name)}' ({kind}) lacks '{key}'.", hint=_DAMAGED)
            result[key] = source.get(key, default)
        for key in source.keys() - known.config.keys():
            self._check_left_out(name, kind, key, source[key])
        self._canonize(name, kind, known, result)
        if problem := kind_problem(kind, result):
            raise LeftToKerasError(name, problem)
        return kind, result

    def _check_left_out(self, name: str, kind: str, key: str, value: Any) -> None:
        is_weight = kind == "Normalization" and key in ("mean", "variance")
        if is_weight or (key == "data_format" and kind in IDENTITY_KINDS) or _TRAINING.fullmatch(key):
            return
        if key not in _NEUTRAL or value not in _NEUTRAL[key]:
            raise LeftToKerasError(name, f"{kind} with {shorten(key)}={shorten(repr(value))} is not known")

    def _canonize(self, name: str, kind: str, known: LayerKind, config: dict[str, Any]) -> None:
        rank = known.spatial_rank
        if "strides" in config and "pool_size" in config and config["strides"] is None:
            config["strides"] = config["pool_size"]
        for key in _SIZES:
            if key in config and config[key] is not None:
                config[key] = _sizes(name, key, config[key], rank)
        for key in ("padding", "cropping"):
            if kind.startswith(("ZeroPadding", "Cropping")) and key in config:
                config[key] = _margins(name, key, config[key], rank)
        if config.get("padding") in ("VALID", "SAME"):
            config["padding"] = config["padding"].lower()
        if config.get("data_format", "") is None:
            config["data_format"] = "channels_last"
        if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
            config["axis"] = config["axis"][0]
        for key in ("activation", "recurrent_activation"):
            if key in config:
                config[key] = self._activation(name, config[key])
        if kind in ("Bidirectional", "TimeDistributed"):
            self._wrap(name, kind, config)

    def _activation(self, name: str, value: Any) -> str:
        if value is None:
            return "linear"
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        if not isinstance(value, str):
            shown = value.get("class_name") if isinstance(value, dict) else value
            raise LeftToKerasError(name, f"the layer {shorten(str(shown))} as an activation is not known here")
        if value == "hard_sigmoid" and self.is_keras2:
            raise UnsupportedError(
                f"Layer '{shorten(name)}' uses hard_sigmoid of Keras 2, which is another function than that of Keras 3.",
                hint="Fairlead will not guess between them: retrain with sigmoid, or convert the model to ONNX where it was trained.",
            )
        return _ACTIVATION_ALIASES.get(value, value)

    def _wrap(self, name: str, kind: str, config: dict[str, Any]) -> None:
        config["layer"] = self._wrapped(name, config["layer"])
        if kind == "TimeDistributed":
            return
        if config["layer"]["kind"] not in ("LSTM", "GRU", "SimpleRNN"):
            raise LeftToKerasError(name, f"Bidirectional over {config['layer']['kind']} is not known")
        if config["backward_layer"] is None:  # Keras 2 and older Keras 3 leave it out: a mirror of the forward one
            mirror = dict(config["layer"]["config"])
            mirror["go_backwards"] = not mirror["go_backwards"]
            config["backward_layer"] = {"kind": config["layer"]["kind"], "config": mirror}
        else:
            config["backward_layer"] = self._wrapped(name, config["backward_layer"])

    def _wrapped(self, name: str, node: Any) -> dict[str, Any]:
        if not isinstance(node, dict) or not isinstance(node.get("config"), dict):
            raise SourceError(f"Layer '{shorten(name)}' wraps something that is not a layer.", hint=_DAMAGED)
        kind, config = self.translate(str(node.get("class_name")), node["config"])
        return {"kind": kind, "config": config}

    def _note_policy(self, name: str, dtype: Any) -> None:
        if isinstance(dtype, dict):
            dtype = dtype["config"].get("name") if isinstance(dtype.get("config"), dict) else None
        if dtype is None:
            return
        if dtype not in _POLICIES:
            raise UnsupportedError(
                f"Layer '{shorten(name)}' computes in {shorten(str(dtype))}.", hint="Save the model with the float32 policy."
            )
        self.policies |= {_POLICIES[dtype]} - {""}


def _renamed(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    source = {key: plain(value) for key, value in config.items()}
    if kind == "LeakyReLU" and "alpha" in source:  # Keras 2
        source["negative_slope"] = source.pop("alpha")
    return source


def plain(value: Any) -> Any:
    """Return `value` with Keras's marked tuples and shapes as lists."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__tuple__", "TensorShape") and isinstance(value.get("items"), list):
            return [plain(item) for item in value["items"]]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _sizes(name: str, key: str, value: Any, rank: int) -> list[int]:
    sizes = [value] * rank if isinstance(value, int) else value
    if not isinstance(sizes, list) or len(sizes) != rank or not all(_is_count(size) for size in sizes):
        raise SourceError(f"Layer '{shorten(name)}' has {key}={shorten(repr(value))}.", hint=_DAMAGED)
    return sizes


def _margins(name: str, key: str, value: Any, rank: int) -> list[list[int]]:
    margins = [[value, value]] * rank if isinstance(value, int) else value
    if rank == 1 and isinstance(margins, list) and len(margins) == 2 and all(_is_count(item) for item in margins):
        margins = [margins]
    if isinstance(margins, list) and len(margins) == rank:
        margins = [[item, item] if isinstance(item, int) else item for item in margins]
        if all(isinstance(item, list) and len(item) == 2 and all(_is_count(size) for size in item) for item in margins):
            return margins
    raise SourceError(f"Layer '{shorten(name)}' has {key}={shorten(repr(value))}.", hint=_DAMAGED)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
