"""Units taken out of networks: what hangs together goes together, and the cut network answers as the whole one with these units silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from fairlead.errors import DataError, UnsupportedError
from fairlead.optimize.training.coupling import Coupling, couple, cuttable, fix_everything
from fairlead.optimize.training.coupling_layers import RULES
from fairlead.optimize.training.cutting import check_cut, cut
from fairlead.optimize.training.network import Network, network_of
from fairlead.optimize.training.prepare import readied
from fairlead.optimize.training.proof import prove

RANDOM = np.random.default_rng(5)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> tuple[str, list[str], list[str], dict[str, Any]]:
    return operator, inputs.split(), outputs.split(), attributes


def residual(networks: Any) -> onnx.ModelProto:
    """A short cut around a depthwise convolution, a join, squeeze and excitation, flattening into a dense layer."""
    nodes = [
        node("Conv", "x k1", "c1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 g b m v", "n1"),
        node("Relu", "n1", "r1"),
        node("Conv", "r1 k2", "c2", group=8, pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "s"),
        node("Conv", "x k3 kb", "c3", pads=[1, 1, 1, 1]),
        node("Concat", "s c3", "j", axis=1),
        node("Conv", "j k4", "c4"),
        node("GlobalAveragePool", "c4", "p"),
        node("Conv", "p k5", "e"),
        node("Sigmoid", "e", "gate"),
        node("Mul", "c4 gate", "u"),
        node("MaxPool", "u", "q", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "q flat", "f"),
        node("Gemm", "f w wb", "y"),
    ]
    weights = {"k1": (8, 3, 3, 3), "g": (8,), "b": (8,), "m": (8,), "v": (8,), "k2": (8, 1, 3, 3), "k3": (5, 3, 3, 3), "kb": (5,)}
    weights |= {"k4": (6, 13, 1, 1), "k5": (6, 6, 1, 1), "w": (6 * 9, 4), "wb": (4,)}
    return networks.build(nodes, weights, [None, 3, 6, 6], 4, flat=np.array([0, 54]))


def attention(networks: Any) -> onnx.ModelProto:
    """Two heads over rows of a free length, with shapes computed as exporters compute them, and a feed-forward layer."""
    nodes = [
        node("LayerNormalization", "x lg lb", "n"),
        *(node("MatMul", f"n w{name}", f"{name}0") for name in "qkv"),
        *(node("Add", f"{name}0 b{name}", f"{name}1") for name in "qkv"),
        node("Shape", "x", "shape", end=2),
        node("Concat", "shape heads", "split", axis=0),
        *(node("Reshape", f"{name}1 split", f"{name}2") for name in "qkv"),
        node("Transpose", "q2", "q3", perm=[0, 2, 1, 3]),
        node("Transpose", "k2", "k3", perm=[0, 2, 3, 1]),
        node("Transpose", "v2", "v3", perm=[0, 2, 1, 3]),
        node("MatMul", "q3 k3", "a"),
        node("Softmax", "a", "p"),
        node("MatMul", "p v3", "o"),
        node("Transpose", "o", "o1", perm=[0, 2, 1, 3]),
        node("Reshape", "o1 joined", "o2"),
        node("MatMul", "o2 wo", "o3"),
        node("Add", "o3 x", "r"),
        node("MatMul", "r w1", "f"),
        node("Relu", "f", "g"),
        node("MatMul", "g w2", "h"),
        node("Add", "h r", "s"),
        node("ReduceMean", "s", "t", axes=[1], keepdims=0),
        node("Gemm", "t w3", "y"),
    ]
    weights = {"lg": (8,), "lb": (8,), "wo": (8, 8), "w1": (8, 12), "w2": (12, 8), "w3": (8, 3)}
    weights |= {f"w{name}": (8, 8) for name in "qkv"} | {f"b{name}": (8,) for name in "qkv"}
    return networks.build(nodes, weights, [None, None, 8], 3, heads=np.array([2, 4]), joined=np.array([0, 0, 8]))


def recurrent(networks: Any) -> onnx.ModelProto:
    """An LSTM in both directions under a GRU, joined and read by a dense layer."""
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("LSTM", "s w1 r1 b1", "t", hidden_size=6, direction="bidirectional"),
        node("Transpose", "t", "t1", perm=[0, 2, 1, 3]),
        node("Reshape", "t1 wide", "t2"),
        node("GRU", "t2 w2 r2 b2", "u h", hidden_size=5, linear_before_reset=1),
        node("Squeeze", "h first", "h1"),
        node("Gemm", "h1 w3", "y"),
    ]
    weights = {"w1": (2, 24, 3), "r1": (2, 24, 6), "b1": (2, 48), "w2": (1, 15, 12), "r2": (1, 15, 5), "b2": (1, 30), "w3": (5, 2)}
    return networks.build(nodes, weights, [None, None, 3], 2, wide=np.array([0, 0, -1]), first=np.array([0]))


ROWS = {"residual": (9, 3, 6, 6), "attention": (9, 5, 8), "recurrent": (9, 4, 3)}
# Widths that may be cut, in each network: of heads, the channels within, alike for all of them.
GROUPS = {"residual": [5, 6, 8], "attention": [4, 4, 12], "recurrent": [5, 6]}


def opened(name: str, networks: Any) -> tuple[Network, Coupling, dict[str, np.ndarray]]:
    network = network_of(readied(globals()[name](networks)))
    rows = {"x": RANDOM.normal(size=ROWS[name]).astype(np.float32)}
    return network, couple(network, rows, RULES), rows


def some(coupling: Coupling, network: Network) -> dict[int, np.ndarray]:
    """Keep every unit but the second and the last."""
    kept = {}
    for group in cuttable(coupling, network):
        kept[id(group)] = np.ones(group.size, dtype=bool)
        kept[id(group)][[1, -1]] = False
    return kept


@pytest.mark.parametrize("name", ROWS)
def test_the_units_that_hang_together_are_found(name: str, networks: Any) -> None:
    network, coupling, _ = opened(name, networks)
    assert sorted(group.size for group in cuttable(coupling, network)) == GROUPS[name]


@pytest.mark.parametrize("name", ROWS)
def test_a_cut_network_answers_as_the_whole_one_with_these_units_silent(name: str, networks: Any) -> None:
    network, coupling, rows = opened(name, networks)
    kept = some(coupling, network)
    model = cut(network, coupling, kept)
    after = network_of(model)
    check_cut(network, coupling, kept, after, rows)  # raises
    assert prove(after, model, rows) <= 1e-5
    assert sum(value.numel() for value in after.parameters.values()) < sum(value.numel() for value in network.parameters.values())


@pytest.mark.parametrize("name", ["attention", "recurrent"])
def test_lengths_that_were_free_stay_free(name: str, networks: Any) -> None:
    network, coupling, _ = opened(name, networks)
    model = cut(network, coupling, some(coupling, network))
    count, length, width = ROWS[name]
    longer = {"x": RANDOM.normal(size=(count - 6, length + 8, width)).astype(np.float32)}
    assert prove(network_of(model), model, longer) <= 1e-5


def test_a_cut_that_forgets_a_layer_is_caught(networks: Any) -> None:
    """The positive control of check_cut: one weight keeps elements of units that are gone."""
    network, coupling, rows = opened("residual", networks)
    kept = some(coupling, network)
    wrong = network_of(cut(network, coupling, kept))
    wrong.parameters["wb"].detach().add_(1.0)
    with pytest.raises(UnsupportedError, match="cannot be taken out"):
        check_cut(network, coupling, kept, wrong, rows)


def test_operators_without_a_rule_keep_everything_that_they_touch(networks: Any) -> None:
    network = network_of(readied(residual(networks)))
    rows = {"x": RANDOM.normal(size=ROWS["residual"]).astype(np.float32)}
    rules = {**RULES, "Concat": fix_everything}
    assert sorted(group.size for group in cuttable(couple(network, rows, rules), network)) == [6]


def test_what_softmax_runs_over_is_never_cut(networks: Any) -> None:
    _, coupling, _ = opened("attention", networks)
    (scores,) = [axes for name, axes in coupling.axes.items() if name == "p"]
    assert all(group.is_fixed for group in scores[-1])


def test_nothing_of_the_model_is_changed(networks: Any) -> None:
    network, coupling, _ = opened("residual", networks)
    before = network.model.SerializeToString(deterministic=True)
    cut(network, coupling, some(coupling, network))
    assert network.model.SerializeToString(deterministic=True) == before


def test_rows_that_do_not_show_what_a_free_size_does_are_refused(networks: Any) -> None:
    network = network_of(readied(attention(networks)))
    with pytest.raises(DataError, match="free size"):
        couple(network, {"x": RANDOM.normal(size=(9, 1, 8)).astype(np.float32)}, RULES)
