"""Calls through bound buffers: the same bits as usual calls, nothing shared between answers, and the usual call where they cannot serve."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LINEAR, WEIGHTS, echo_model, linear_model, lookup_model, save

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.onnxruntime_binding import BoundCalls
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session
from fairlead.errors import RequestError

ROWS = np.random.default_rng(2).normal(size=(64, 4)).astype(np.float32)


def _session(path: Path) -> object:
    return open_session(path, thread_count=1, optimization="all")


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_a_bound_call_gives_the_bits_of_a_usual_one(tmp_path: Path, rows: int) -> None:
    session, bound = _session(linear_model(tmp_path / "m.onnx")), BoundCalls(LINEAR)
    for start in (0, 16, 32):  # the second call runs in the buffers of the first
        inputs = {"x": ROWS[start : start + rows]}
        answers = bound.run(session, inputs, rows)
        assert answers is not None
        assert np.array_equal(answers["y"], session.run(["y"], inputs)[0])


@pytest.mark.parametrize("dtype", [one for one in DType if one is not DType.BYTES])
def test_every_number_type_goes_through_buffers(tmp_path: Path, dtype: DType) -> None:
    path, _ = echo_model(tmp_path / "m.onnx", dtype)
    interface = Interface((TensorSpec("x", dtype, (None, 2)),), (TensorSpec("y", dtype, (None, 2)),))
    tensor = np.array([[0, 1]], dtype=dtype.numpy)
    answers = BoundCalls(interface).run(_session(path), {"x": tensor}, 1)
    assert answers is not None
    assert answers["y"].dtype == tensor.dtype
    assert answers["y"].tolist() == tensor.tolist()


def test_an_answer_stays_as_it_is_when_the_next_one_is_computed(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    first = engine.run({"x": ROWS[:1]})["y"]
    engine.run({"x": ROWS[1:2]})
    assert np.allclose(first, ROWS[:1] @ WEIGHTS, atol=1e-6)


def test_the_callers_tensor_may_lie_anyhow_and_is_not_kept(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    tensor = np.asfortranarray(ROWS[:3])
    assert np.allclose(engine.run({"x": tensor})["y"], ROWS[:3] @ WEIGHTS, atol=1e-6)
    tensor[:] = 0
    assert np.allclose(engine.run({"x": ROWS[:3]})["y"], ROWS[:3] @ WEIGHTS, atol=1e-6)


def test_many_rows_texts_and_open_sizes_are_left_to_usual_calls(tmp_path: Path) -> None:
    session = _session(linear_model(tmp_path / "m.onnx"))
    assert BoundCalls(LINEAR).run(session, {"x": ROWS}, len(ROWS)) is None
    wide = Interface((TensorSpec("x", DType.FP32, (None, 5000)),), LINEAR.outputs)
    for interface in (wide, Interface((TensorSpec("x", DType.FP32, (None, None)),), LINEAR.outputs)):
        assert BoundCalls(interface).run(session, {"x": ROWS[:1]}, 1) is None
    path, texts = echo_model(tmp_path / "t.onnx", DType.BYTES)
    assert BoundCalls(texts).run(_session(path), {"x": np.array([["a", "b"]], dtype=object)}, 1) is None


def test_a_model_that_gives_other_rows_than_it_says_answers_as_usual(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1, noop_with_empty_axes=0)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, 4)),), (TensorSpec("y", DType.FP32, (None, 1)),))
    engine = OnnxRuntimeEngine(save(tmp_path / "m.onnx", graph), interface)
    for _ in range(3):
        answer = engine.run({"x": np.ones((3, 4), np.float32)})["y"]
        assert answer.shape == (1, 1)
        assert math.isclose(float(answer[0, 0]), 12.0)


def test_a_request_that_fails_is_explained_and_does_not_hurt_the_next(tmp_path: Path) -> None:
    path, interface = lookup_model(tmp_path / "m.onnx")
    engine = OnnxRuntimeEngine(path, interface)
    before = engine.run({"i": np.array([0, 1])})
    with pytest.raises(RequestError, match="index 9"):
        engine.run({"i": np.array([0, 9])})
    after = engine.run({"i": np.array([0, 1])})
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_threads_that_call_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    wanted = ROWS @ WEIGHTS

    def ask(number: int) -> bool:
        row = number % len(ROWS)
        return bool(np.allclose(engine.run({"x": ROWS[row : row + 1]})["y"], wanted[row : row + 1], atol=1e-6))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(2000)))
