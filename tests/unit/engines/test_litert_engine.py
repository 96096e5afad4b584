"""LiteRT as an engine: names, batches, threads, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError, SourceError, UnavailableError

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
from fairlead.engines.litert_engine import LiteRtEngine

DATA = Path(__file__).parents[2] / "data" / "tensorflow" / "litert"
INTERFACE = Interface((TensorSpec("keras_tensor", DType.FP32, (None, 12)),), (TensorSpec("output_0", DType.FP32, (None, 4)),))


@pytest.fixture(scope="module")
def engine():
    return LiteRtEngine(DATA / "mlp.float.tflite", INTERFACE)


@pytest.fixture(scope="module")
def answers():
    with np.load(DATA / "mlp.float.npz") as file:
        return file["5/7/in/keras_tensor"], file["5/7/out/output_0"]


def test_batches_of_every_size_get_the_answers_of_each_row_alone(engine, answers):
    rows, wanted = answers
    for size in (7, 1, 3, 7):
        np.testing.assert_allclose(engine.run({"keras_tensor": rows[:size]})["output_0"], wanted[:size], atol=1e-6)
    assert not engine.plans_one_row


def test_many_threads_get_their_own_answers(engine, answers):
    rows, wanted = answers

    def ask(number):
        size = number % 7 + 1
        return size, engine.run({"keras_tensor": rows[:size]})["output_0"]

    with ThreadPoolExecutor(8) as pool:
        for size, got in pool.map(ask, range(100)):
            np.testing.assert_allclose(got, wanted[:size], atol=1e-6)


def test_rows_that_do_not_fit_and_files_that_are_none_are_refused(engine, tmp_path):
    with pytest.raises(RequestError):
        engine.run({"keras_tensor": np.zeros((2, 11), np.float32)})
    with pytest.raises(RequestError):
        engine.run({"keras_tensor": np.zeros((2, 12), np.float64)})
    broken = tmp_path / "model.tflite"
    broken.write_bytes(b"nothing")
    with pytest.raises(SourceError, match="cannot load the model"):
        LiteRtEngine(broken, INTERFACE)


def test_a_file_of_another_interface_is_refused():
    other = Interface((TensorSpec("x", DType.FP32, (None, 12)),), INTERFACE.outputs)
    with pytest.raises(SourceError, match="takes and gives other tensors"):
        LiteRtEngine(DATA / "mlp.float.tflite", other)
    wrong = Interface((TensorSpec("keras_tensor", DType.INT8, (None, 12)),), INTERFACE.outputs)
    with pytest.raises(SourceError, match="is not keras_tensor INT8"):
        LiteRtEngine(DATA / "mlp.float.tflite", wrong)


def test_a_closed_engine_says_so(answers):
    engine = LiteRtEngine(DATA / "mlp.float.tflite", INTERFACE)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"keras_tensor": answers[0]})
