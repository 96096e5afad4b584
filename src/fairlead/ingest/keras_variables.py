"""Which variables a known layer has: role, shape and place, in the order in which Keras makes them.

Takes kind, canonical config and input shapes; gives Variables. Raises ValueError where the shapes do not fit. The order is a law of the
file formats: .h5 files list weights in it, .keras files number them by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from fairlead.core.layer_shapes import Shape, output_shapes

Arguments: TypeAlias = Mapping[str, Sequence[Shape]]
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


@dataclass(frozen=True)
class Variable:
    """`role` as in core.layer_graph; `shape` has None where the config does not say; `folder` and `index` are its place in .keras files.

    `is_trained` is False for statistics, which .h5 files list after all weights. `names` are what .h5 files call it.
    """

    role: str
    shape: tuple[int | None, ...]
    is_trained: bool = True
    folder: str = ""
    index: int = 0
    names: tuple[str, ...] = ()

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names that .h5 files may give it: the role's last part, or those that are listed."""
        return self.names or (self.role.rpartition("/")[2],)


def variables(kind: str, config: Mapping[str, Any], arguments: Arguments, *, has_statistics: bool = True) -> tuple[Variable, ...]:
    """Return the layer's variables. `has_statistics` is False for a Normalization whose config holds its mean and variance."""
    first = next(iter(arguments.values()))[0]
    if kind in _GATES:
        return tuple(replace(variable, folder="cell") for variable in _numbered(_recurrent(kind, config, first)))
    if kind == "Bidirectional":
        return tuple(
            _within(f"{side}/", f"{side}_layer", variable)
            for side, key in (("forward", "layer"), ("backward", "backward_layer"))
            for variable in variables(config[key]["kind"], config[key]["config"], {"sequences": (first,)})
        )
    if kind == "TimeDistributed":
        inner = variables(config["layer"]["kind"], config["layer"]["config"], {"inputs": ((first[0], *first[2:]),)})
        return tuple(_within("layer/", "layer", variable) for variable in inner)
    if kind == "MultiHeadAttention":
        return _multi_head(config, arguments)
    if kind == "Normalization":
        return _statistics(config, first) if has_statistics else ()
    if kind == "Attention":
        count = (["scale"] if config["use_scale"] else []) + (["concat_score_weight"] if config["score_mode"] == "concat" else [])
        return tuple(_numbered([Variable(role, ()) for role in count]))
    if kind == "AdditiveAttention":
        return (Variable("scale", (arguments["query"][0][-1],)),) if config["use_scale"] else ()
    rule = _rule(kind)
    return tuple(_numbered(rule(config, first))) if rule else ()


def _numbered(found: Sequence[Variable]) -> list[Variable]:
    return [replace(variable, index=index) for index, variable in enumerate(found)]


def _within(prefix: str, folder: str, variable: Variable) -> Variable:
    inner = f"{folder}/{variable.folder}" if variable.folder else folder
    return replace(variable, role=prefix + variable.role, folder=inner, names=variable.known_names)


def _rule(kind: str) -> Callable[[Mapping[str, Any], Shape], list[Variable]] | None:
    if kind.startswith("Conv"):
        return _transposed_convolution if kind.endswith("Transpose") else _convolution
    if kind.startswith("DepthwiseConv"):
        return _depthwise
    if kind.startswith("SeparableConv"):
        return _separable
    return _RULES.get(kind)


def _bias(config: Mapping[str, Any], size: int | None) -> list[Variable]:
    return [Variable("bias", (size,))] if config["use_bias"] else []


def _channels(config: Mapping[str, Any], shape: Shape) -> int | None:
    return shape[-1] if config["data_format"] == "channels_last" else shape[1]


def _dense(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    return [Variable("kernel", (shape[-1], config["units"])), *_bias(config, config["units"])]


def _convolution(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    channels = _channels(config, shape)
    if channels is not None and (config["groups"] < 1 or channels % config["groups"]):
        raise ValueError(f"{channels} channels do not divide into {config['groups']} groups")
    inner = None if channels is None else channels // config["groups"]
    return [Variable("kernel", (*config["kernel_size"], inner, config["filters"])), *_bias(config, config["filters"])]


def _transposed_convolution(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    kernel = (*config["kernel_size"], config["filters"], _channels(config, shape))
    return [Variable("kernel", kernel), *_bias(config, config["filters"])]


def _depthwise_kernel(config: Mapping[str, Any], shape: Shape) -> Variable:
    kernel = (*config["kernel_size"], _channels(config, shape), config["depth_multiplier"])
    return Variable("depthwise_kernel", kernel, names=("depthwise_kernel", "kernel"))


def _depthwise(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    return [_depthwise_kernel(config, shape), *_bias(config, _times(_channels(config, shape), config["depth_multiplier"]))]


def _separable(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    inner = _times(_channels(config, shape), config["depth_multiplier"])
    pointwise = Variable("pointwise_kernel", (*[1] * len(config["kernel_size"]), inner, config["filters"]))
    return [_depthwise_kernel(config, shape), pointwise, *_bias(config, config["filters"])]


def _times(size: int | None, factor: int) -> int | None:
    return None if size is None else size * factor


def _scaled(roles: tuple[str, str]) -> Callable[[Mapping[str, Any], Shape], list[Variable]]:
    def rule(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
        sizes = tuple(shape[axis] for axis in _axes(config["axis"], shape))
        return [Variable(role, sizes) for role, key in zip(roles, ("scale", "center"), strict=True) if config[key]]

    return rule


def _axes(axis: Any, shape: Shape) -> list[int]:
    axes = axis if isinstance(axis, list) else [] if axis is None else [axis]
    if not all(isinstance(item, int) and -len(shape) <= item < len(shape) for item in axes):
        raise ValueError(f"axis {axis} does not exist in {list(shape)}")
    return sorted(item % len(shape) for item in axes)


def _batch_normalization(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    statistics = [
        Variable(role, (shape[_axes(config["axis"], shape)[0]],), is_trained=False) for role in ("moving_mean", "moving_variance")
    ]
    return [*_scaled(("gamma", "beta"))(config, shape), *statistics]


def _rms(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    return [Variable("scale", tuple(shape[axis] for axis in _axes(config["axis"], shape)), names=("scale", "gamma"))]


def _statistics(config: Mapping[str, Any], shape: Shape) -> tuple[Variable, ...]:
    sizes = tuple(shape[axis] for axis in _axes(config["axis"], shape))
    return tuple(Variable(role, sizes, is_trained=False, index=index) for index, role in enumerate(("mean", "variance")))


def _embedding(config: Mapping[str, Any], _shape: Shape) -> list[Variable]:
    return [Variable("embeddings", (config["input_dim"], config["output_dim"]))]


def _prelu(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    shared = set(_axes(config["shared_axes"], shape))
    return [Variable("alpha", tuple(1 if axis in shared else size for axis, size in enumerate(shape) if axis))]


def _einsum(config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    left, arrow, after = config["equation"].partition("->")
    before, comma, kernel = left.partition(",")
    if not arrow or not comma:
        raise ValueError(f"'{config['equation'][:40]}' is not an equation of two tensors")
    result = output_shapes("EinsumDense", config, {"inputs": (shape,)})[0]
    is_exact = "." not in config["equation"]
    sizes = (dict(zip(after, result, strict=False)) | dict(zip(before, shape, strict=False))) if is_exact else {}
    weights = [Variable("kernel", tuple(sizes.get(letter) for letter in kernel))]
    if config["bias_axes"]:
        first = min((after.index(letter) for letter in config["bias_axes"] if letter in after), default=0)
        bias = tuple(sizes.get(letter) if letter in config["bias_axes"] else 1 for letter in after[first:])
        weights.append(Variable("bias", bias))
    return weights


def _recurrent(kind: str, config: Mapping[str, Any], shape: Shape) -> list[Variable]:
    gates, units = _GATES[kind], config["units"]
    weights = [Variable("kernel", (shape[-1], gates * units)), Variable("recurrent_kernel", (units, gates * units))]
    if config["use_bias"]:
        is_split = kind == "GRU" and config["reset_after"]
        weights.append(Variable("bias", (2, gates * units) if is_split else (gates * units,)))
    return weights


def _multi_head(config: Mapping[str, Any], arguments: Arguments) -> tuple[Variable, ...]:
    heads, key_size = config["num_heads"], config["key_dim"]
    value_size = config["value_dim"] if config["value_dim"] is not None else key_size
    query, value, key = (arguments[name][0] for name in ("query", "value", "key"))
    result = output_shapes("MultiHeadAttention", config, arguments)[0][2:]
    parts: list[tuple[str, Shape, Shape]] = [
        ("query", (query[-1], heads, key_size), (heads, key_size)),
        ("key", (key[-1], heads, key_size), (heads, key_size)),
        ("value", (value[-1], heads, value_size), (heads, value_size)),
        ("attention_output", (heads, value_size, *result), result),
    ]
    found: list[Variable] = []
    for role, kernel, bias in parts:
        folder = f"{'output' if role == 'attention_output' else role}_dense"
        found.append(Variable(f"{role}/kernel", kernel, folder=folder))
        if config["use_bias"]:
            found.append(Variable(f"{role}/bias", bias, folder=folder, index=1))
    return tuple(found)


_RULES: Mapping[str, Callable[[Mapping[str, Any], Shape], list[Variable]]] = {
    "Dense": _dense,
    "EinsumDense": _einsum,
    "Embedding": _embedding,
    "PReLU": _prelu,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _scaled(("gamma", "beta")),
    "GroupNormalization": _scaled(("gamma", "beta")),
    "RMSNormalization": _rms,
}
