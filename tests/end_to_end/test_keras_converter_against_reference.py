"""Converter and reference evaluation were written apart from each other; on drawn layers they have to agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.convert.layer_graph_to_onnx import build_model
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.layer_kinds import ACTIVATIONS, KNOWN_KINDS
from fairlead.engines.layer_graph_engine import LayerGraphEngine
from fairlead.errors import RequestError, UnsupportedError

SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
NAMES = st.sampled_from(sorted(ACTIVATIONS - {"exponential"}))
SMALL = st.integers(1, 3)


def check(kind: str, config: dict[str, Any], shape: tuple[int, ...], weights: dict[str, np.ndarray], *, count: int = 1) -> None:
    """Compare ONNX Runtime and the reference on one layer that takes `count` tensors of `shape` (batch included)."""
    config = {**KNOWN_KINDS[kind].config, **config}
    free = (None, *shape[1:])
    inputs = tuple(TensorSpec(f"x{place}", DType.FP32, free) for place in range(count))
    layer = Layer("layer", kind, config, {role: role for role in weights})
    call = Call("layer", tuple(ValueRef(GRAPH_INPUT, place) for place in range(count)))
    graph = LayerGraph("drawn", {"layer": layer}, (call,), inputs, (("y", ValueRef(0)),))
    draw = np.random.default_rng(sum(shape))
    tensors = {spec.name: draw.normal(size=shape).astype(np.float32) for spec in inputs}
    interface = Interface(inputs, (TensorSpec("y", DType.FP32, (None,)),))
    try:
        want = LayerGraphEngine(graph, weights, interface).run(tensors)["y"]
    except RequestError:
        return  # a window larger than the tensor: Keras would not build it either
    if want.size == 0:
        return
    outputs = (TensorSpec("y", DType.FP32, (None, *want.shape[1:])),)
    try:
        model = build_model(graph, weights, outputs)
    except UnsupportedError:
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    got = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, tensors)[0]
    assert got.shape == want.shape, f"{kind} {config}: {got.shape} instead of {want.shape}"
    np.testing.assert_allclose(got, want, atol=2e-5, rtol=2e-5, err_msg=f"{kind} {config} {shape}")


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape) + sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def places(rank: int) -> str:
    return f"{rank}D"


def spatial(data: st.DataObject, rank: int) -> tuple[tuple[int, ...], bool]:
    lengths = tuple(data.draw(st.integers(1, 7)) for _ in range(rank))
    return lengths, data.draw(st.booleans())


def shaped(lengths: tuple[int, ...], channels: int, *, is_last: bool) -> tuple[int, ...]:
    return (2, *lengths, channels) if is_last else (2, channels, *lengths)


@SETTINGS
@given(st.data(), st.integers(1, 3))
def test_convolutions(data: st.DataObject, rank: int) -> None:
    lengths, is_last = spatial(data, rank)
    size = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    groups = data.draw(st.sampled_from([1, 2]))
    config = {
        "filters": 4,
        "kernel_size": size,
        "strides": [data.draw(SMALL) for _ in range(rank)],
        "dilation_rate": [data.draw(SMALL) for _ in range(rank)],
        "padding": data.draw(st.sampled_from(["valid", "same", "causal"] if rank == 1 else ["valid", "same"])),
        "data_format": "channels_last" if is_last else "channels_first",
        "groups": groups,
        "activation": data.draw(NAMES),
    }
    weights = {"kernel": drawn(*size, 4 // groups, 4), "bias": drawn(4)}
    check(f"Conv{places(rank)}", config, shaped(lengths, 4, is_last=is_last), weights)


@SETTINGS
@given(st.data(), st.integers(1, 3))
def test_transposed_convolutions(data: st.DataObject, rank: int) -> None:
    lengths, is_last = spatial(data, rank)
    size, strides = ([data.draw(SMALL) for _ in range(rank)] for _ in range(2))
    extra = data.draw(st.sampled_from([None, [0] * rank, [stride - 1 for stride in strides]]))
    config = {
        "filters": 3,
        "kernel_size": size,
        "strides": strides,
        "output_padding": extra,
        "padding": data.draw(st.sampled_from(["valid", "same"])),
        "data_format": "channels_last" if is_last else "channels_first",
    }
    if data.draw(st.booleans()):
        config |= {"strides": [1] * rank, "output_padding": None, "dilation_rate": [data.draw(SMALL) for _ in range(rank)]}
    weights = {"kernel": drawn(*size, 3, 2), "bias": drawn(3)}
    check(f"Conv{places(rank)}Transpose", config, shaped(lengths, 2, is_last=is_last), weights)


@SETTINGS
@given(st.data(), st.integers(1, 2), st.booleans())
def test_depthwise_and_separable_convolutions(data: st.DataObject, rank: int, is_separable: bool) -> None:
    lengths, is_last = spatial(data, rank)
    size = [data.draw(SMALL) for _ in range(rank)]
    has_strides = data.draw(st.booleans())
    steps = [data.draw(SMALL)] * rank
    config: dict[str, Any] = {
        "kernel_size": size,
        "depth_multiplier": 2,
        "strides": steps if has_strides else [1] * rank,
        "dilation_rate": [1] * rank if has_strides else steps,
        "padding": data.draw(st.sampled_from(["valid", "same"])),
        "data_format": "channels_last" if is_last else "channels_first",
    }
    weights = {"depthwise_kernel": drawn(*size, 3, 2), "bias": drawn(5 if is_separable else 6)}
    if is_separable:
        config["filters"] = 5
        weights["pointwise_kernel"] = drawn(*[1] * rank, 6, 5)
    kind = "SeparableConv" if is_separable else "DepthwiseConv"
    check(f"{kind}{places(rank)}", config, shaped(lengths, 3, is_last=is_last), weights)


@SETTINGS
@given(st.data(), st.integers(1, 3), st.sampled_from(["Max", "Average"]))
def test_pooling(data: st.DataObject, rank: int, how: str) -> None:
    lengths, is_last = spatial(data, rank)
    config = {
        "pool_size": [data.draw(st.integers(1, 4)) for _ in range(rank)],
        "strides": [data.draw(SMALL) for _ in range(rank)],
        "padding": data.draw(st.sampled_from(["valid", "same"])),
        "data_format": "channels_last" if is_last else "channels_first",
    }
    check(f"{how}Pooling{places(rank)}", config, shaped(lengths, 3, is_last=is_last), {})


@SETTINGS
@given(st.data(), st.integers(1, 3), st.sampled_from(["ZeroPadding", "Cropping", "UpSampling"]))
def test_padding_cropping_and_upsampling(data: st.DataObject, rank: int, what: str) -> None:
    lengths, is_last = spatial(data, rank)
    config: dict[str, Any] = {"data_format": "channels_last" if is_last else "channels_first"}
    margins = [[data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))] for _ in range(rank)]
    if what == "UpSampling":
        config["size"] = [data.draw(SMALL) for _ in range(rank)]
        config |= {"interpolation": data.draw(st.sampled_from(["nearest", "bilinear"]))} if rank == 2 else {}
    else:
        config["padding" if what == "ZeroPadding" else "cropping"] = margins
    check(f"{what}{places(rank)}", config, shaped(lengths, 3, is_last=is_last), {})


@SETTINGS
@given(st.data(), st.sampled_from(["SimpleRNN", "LSTM", "GRU"]))
def test_recurrent_layers(data: st.DataObject, kind: str) -> None:
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
    config: dict[str, Any] = {
        "units": 3,
        "activation": data.draw(NAMES),
        "use_bias": data.draw(st.booleans()),
        "return_sequences": data.draw(st.booleans()),
        "go_backwards": data.draw(st.booleans()),
    }
    if kind != "SimpleRNN":
        config["recurrent_activation"] = data.draw(st.sampled_from(["sigmoid", "hard_sigmoid", "tanh", "softsign", "softmax"]))
    has_two_biases = kind == "GRU" and data.draw(st.booleans())
    if kind == "GRU":
        config["reset_after"] = has_two_biases
    weights = {"kernel": drawn(4, 3 * gates), "recurrent_kernel": drawn(3, 3 * gates)}
    if config["use_bias"]:
        weights["bias"] = drawn(2, 3 * gates) if has_two_biases else drawn(3 * gates)
    check(kind, config, (2, data.draw(st.integers(1, 5)), 4), weights)


@SETTINGS
@given(st.data(), st.sampled_from(["LayerNormalization", "GroupNormalization", "BatchNormalization", "UnitNormalization"]))
def test_normalizations(data: st.DataObject, kind: str) -> None:
    rank = data.draw(st.integers(2, 5))
    axis = data.draw(st.integers(1, rank - 1))
    named = data.draw(st.sampled_from([axis, axis - rank]))
    config: dict[str, Any] = {"axis": [named] if kind != "GroupNormalization" and data.draw(st.booleans()) else named}
    weights: dict[str, np.ndarray] = {}
    if kind != "UnitNormalization":
        config |= {"center": data.draw(st.booleans()), "scale": data.draw(st.booleans())}
        weights |= {"beta": drawn(4)} if config["center"] else {}
        weights |= {"gamma": drawn(4)} if config["scale"] else {}
    if kind == "GroupNormalization":
        config["groups"] = data.draw(st.sampled_from([-1, 1, 2, 4]))
    if kind == "BatchNormalization":
        weights |= {"moving_mean": drawn(4), "moving_variance": np.abs(drawn(4)) + 0.5}
    check(kind, config, (2, *[4] * (rank - 1)), weights)


@SETTINGS
@given(st.data(), st.booleans())
def test_dot_products(data: st.DataObject, is_normalized: bool) -> None:
    rank = data.draw(st.integers(2, 4))
    axes = [data.draw(st.integers(1, rank - 1)) for _ in range(2)]
    check("Dot", {"axes": axes, "normalize": is_normalized}, (2, *[3] * (rank - 1)), {}, count=2)


@SETTINGS
@given(st.data(), st.sampled_from(["Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]))
def test_merges(data: st.DataObject, kind: str) -> None:
    config = {"axis": data.draw(st.sampled_from([1, 2, -1, -2]))} if kind == "Concatenate" else {}
    check(kind, config, (2, 3, 4), {}, count=data.draw(st.integers(2, 4)))


@SETTINGS
@given(st.data())
def test_shapes(data: st.DataObject) -> None:
    kind, config = data.draw(
        st.sampled_from(
            [
                ("Flatten", {}),
                ("Flatten", {"data_format": "channels_first"}),
                ("Reshape", {"target_shape": [-1, 2]}),
                ("Reshape", {"target_shape": [24]}),
                ("Permute", {"dims": [3, 1, 2]}),
                ("Softmax", {"axis": 1}),
                ("Softmax", {"axis": [1, 2]}),
                ("ReLU", {"max_value": 0.7, "negative_slope": 0.2, "threshold": 0.1}),
                ("ReLU", {"max_value": None, "negative_slope": 0.2, "threshold": -0.1}),
                ("LeakyReLU", {"negative_slope": 0.4}),
                ("ELU", {"alpha": 0.4}),
            ]
        )
    )
    check(kind, config, (2, 2, 3, 4), {})


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(name: str) -> None:
    check("Activation", {"activation": name}, (5, 40), {})
