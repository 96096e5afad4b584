"""Dense layers as two thinner ones: fewer numbers, the best that their rank allows, and better where rows say how they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_examples import MODELS, answers, difference, of_kind, operators, random, rows_for, run, save, tree, value, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.calibration import second_moments


def low_rank(rows: int, columns: int, rank: int, seed: int = 0) -> np.ndarray:
    made = random(seed)
    return (made.normal(size=(rows, rank)) @ made.normal(size=(rank, columns)) / rank).astype(np.float32)


def layer(path: Path, kind: str, rank: int = 4, opset: int = 17) -> Path:
    """One layer of `rank`, in the ways in which models hold it."""
    matrix = low_rank(96, 64, rank)
    bias = weight("b", 64)
    if kind == "MatMul":
        node, inner = helper.make_node("MatMul", ["x", "w"], ["y"]), [value("x", "batch", 5, 96), value("y", "batch", 5, 64)]
        return save(path, [node], inner[:1], inner[1:], [numpy_helper.from_array(matrix, "w")], opset)
    if kind.startswith("Gemm"):
        is_transposed = kind == "Gemm with a turned weight"
        held = np.ascontiguousarray(matrix.T) if is_transposed else matrix
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(is_transposed), alpha=0.5, beta=2.0)
        tensors = [numpy_helper.from_array(held, "w"), bias]
        return save(path, [node], [value("x", "batch", 96)], [value("y", "batch", 64)], tensors, opset)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[1, 1], strides=[2, 1], pads=[1, 0, 1, 0])
    tensors = [numpy_helper.from_array(np.ascontiguousarray(matrix.T).reshape(64, 96, 1, 1), "w"), bias]
    return save(path, [node], [value("x", "batch", 96, 7, 6)], [value("y", "batch", 64, 5, 6)], tensors, opset)


KINDS = ("MatMul", "Gemm", "Gemm with a turned weight", "Conv of one point")


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("has_rows", [True, False], ids=["with rows", "without rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_low_rank_becomes_two_that_answer_alike(kind: str, has_rows: bool, opset: int, tmp_path: Path) -> None:
    source = layer(tmp_path / "a.onnx", kind, opset=opset)
    result = run("factorize_dense", source, tmp_path / "b.onnx", rows=rows_for(source, 64) if has_rows else {}, energy=0.9999)
    assert (tmp_path / "b.onnx").stat().st_size < 0.2 * source.stat().st_size
    assert len(operators(tmp_path / "b.onnx")) == 2
    assert "rank 4 of 64" in result.notes[1]
    for count in (1, 8):
        assert difference(source, tmp_path / "b.onnx", rows_for(source, count, 77)) < 1e-3
    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"))


@given(rank=st.integers(1, 24), seed=st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_the_error_is_that_of_the_best_approximation_of_its_rank(rank: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("factors")
    matrix = random(seed).normal(size=(96, 64)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tensors = [numpy_helper.from_array(matrix, "w")]
    source = save(folder / "a.onnx", [node], [value("x", "batch", 96)], [value("y", "batch", 64)], tensors)
    run("factorize_dense", source, folder / "b.onnx", rows={}, rank_ratio=rank / 64)
    given_back = answers(folder / "b.onnx", {"x": np.eye(96, dtype=np.float32)})[0]
    best = np.sqrt(np.square(np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[rank:]).sum())
    assert np.linalg.norm(given_back - matrix) == pytest.approx(best, rel=1e-4)


def test_rows_tell_which_directions_matter(tmp_path: Path) -> None:
    matrix = random().normal(size=(96, 64)).astype(np.float32)
    sizes = np.where(np.arange(96) < 12, 1.0, 0.01).astype(np.float32)  # most inputs hardly vary
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tensors = [numpy_helper.from_array(matrix, "w")]
    source = save(tmp_path / "a.onnx", [node], [value("x", "batch", 96)], [value("y", "batch", 64)], tensors)
    rows = {"x": random(1).normal(size=(256, 96)).astype(np.float32) * sizes}
    for name, seen in (("with", rows), ("without", {})):
        run("factorize_dense", source, tmp_path / f"{name}.onnx", rows=seen, rank_ratio=0.2)
    fresh = {"x": random(2).normal(size=(64, 96)).astype(np.float32) * sizes}
    assert difference(source, tmp_path / "with.onnx", fresh) < 0.1 * difference(source, tmp_path / "without.onnx", fresh)


def test_less_energy_makes_smaller_files_and_larger_errors(tmp_path: Path) -> None:
    source = layer(tmp_path / "a.onnx", "Gemm", rank=40)
    sizes, errors = [], []
    for energy in (0.95, 0.8, 0.5):
        run("factorize_dense", source, tmp_path / "b.onnx", energy=energy)
        sizes.append((tmp_path / "b.onnx").stat().st_size)
        errors.append(difference(source, tmp_path / "b.onnx", rows_for(source, 32)))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


def test_a_weight_that_others_use_too_stays(tmp_path: Path) -> None:
    matrix = low_rank(96, 96, 4)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    tensors = [numpy_helper.from_array(matrix, "w")]
    source = save(tmp_path / "a.onnx", nodes, [value("x", "batch", 96)], [value("y", "batch", 96)], tensors)
    with pytest.raises(UnsupportedError, match="No dense layer"):
        run("factorize_dense", source, tmp_path / "b.onnx")


@pytest.mark.parametrize("make", [*MODELS.values(), tree], ids=[*MODELS, "tree"])
def test_models_without_large_dense_layers_are_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="No dense layer") as caught:
        run("factorize_dense", make(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert caught.value.hint


def test_a_layer_of_full_rank_is_refused_and_so_are_other_precisions(tmp_path: Path) -> None:
    source = layer(tmp_path / "a.onnx", "Gemm", rank=64)
    with pytest.raises(UnsupportedError, match="No dense layer"):
        run("factorize_dense", source, tmp_path / "b.onnx", rows={}, energy=0.999)
    with pytest.raises(UnsupportedError, match="'factorize_dense' takes models of single precision"):
        run("factorize_dense", of_kind(tmp_path / "h.onnx", np.float64), tmp_path / "b.onnx")


@pytest.mark.parametrize("setting", [{"energy": 0.0}, {"energy": 1.0}, {"rank_ratio": -0.5}, {"rank_ratio": 1.5}])
def test_shares_outside_of_0_to_1_are_refused(setting: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="factorize_dense") as caught:
        run("factorize_dense", layer(tmp_path / "a.onnx", "Gemm"), tmp_path / "b.onnx", **setting)
    assert "between 0 and 1" in caught.value.hint


def test_one_row_is_enough(tmp_path: Path) -> None:
    source = layer(tmp_path / "a.onnx", "Gemm")
    run("factorize_dense", source, tmp_path / "b.onnx", rows=rows_for(source, 1), energy=0.9999)
    assert difference(source, tmp_path / "b.onnx", rows_for(source, 1)) < 1e-3


def test_second_moments_are_those_of_all_rows_along_their_axis(tmp_path: Path) -> None:
    source = layer(tmp_path / "a.onnx", "Conv of one point")
    rows = rows_for(source, 45)
    found = second_moments(onnx.load(source), {"x": 1}, rows)["x"]
    flat = np.moveaxis(rows["x"], 1, -1).reshape(-1, 96).astype(np.float64)
    assert np.allclose(found, flat.T @ flat / len(flat))
