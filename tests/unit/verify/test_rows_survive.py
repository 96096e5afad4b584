"""Missing numbers, empty texts and texts of any script take part in the proof: they reach both models as they are, and no change hides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_onnx import echo_model

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.datasets.bind import bind
from fairlead.datasets.raw import Raw
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.verify.parity import compare

NUMBERS = st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=12)
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=12)
IN_TURN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@dataclass
class Travelled:
    """A reference whose rows go through a file of tensors, as those of a sandboxed original do, and come back as they arrived."""

    folder: Path
    interface: Interface
    change: Callable[[Array], Array] = np.copy
    description: str = "travelled"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        write_tensors(self.folder / "rows.npz", inputs)
        return {"y": self.change(read_tensors(self.folder / "rows.npz")["x"])}

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> dict[DType, OnnxRuntimeEngine]:
    folder = tmp_path_factory.mktemp("echoes")
    return {dtype: OnnxRuntimeEngine(*echo_model(folder / f"{dtype.value}.onnx", dtype)) for dtype in (DType.FP32, DType.BYTES)}


def bound(values: Sequence[object], dtype: DType) -> dict[str, Array]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    interface = Interface((TensorSpec("x", dtype, (None, 1)),), (TensorSpec("y", dtype, (None, 1)),))
    return dict(bind(Raw({"x": column}, is_table=True), interface, allow_missing=True).inputs)


@IN_TURN
@given(NUMBERS)
def test_missing_numbers_reach_both_models(tmp_path: Path, echoes: dict[DType, OnnxRuntimeEngine], values: list[float | None]) -> None:
    rows = bound(values, DType.FP32)
    found = compare(Travelled(tmp_path, echoes[DType.FP32].interface), echoes[DType.FP32], rows, None, 1e-5)
    missing = [value is None or math.isnan(value) for value in values]
    assert np.isnan(found.original["y"][:, 0]).tolist() == np.isnan(found.candidate["y"][:, 0]).tolist() == missing
    assert found.scaled_max == 0
    assert found.nan_count == sum(missing)


@IN_TURN
@given(NUMBERS, st.data())
def test_a_missing_number_that_one_model_takes_for_another_is_infinitely_far(
    tmp_path: Path, echoes: dict[DType, OnnxRuntimeEngine], values: list[float | None], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    rows = bound([*values[:place], None, *values[place + 1 :]], DType.FP32)
    filled = Travelled(tmp_path, echoes[DType.FP32].interface, np.nan_to_num)
    assert compare(filled, echoes[DType.FP32], rows, None, 1e-5).scaled_max == math.inf


@IN_TURN
@given(TEXTS)
def test_texts_reach_both_models(tmp_path: Path, echoes: dict[DType, OnnxRuntimeEngine], values: list[str]) -> None:
    found = compare(Travelled(tmp_path, echoes[DType.BYTES].interface), echoes[DType.BYTES], bound(values, DType.BYTES), None, 1e-5)
    assert found.original["y"][:, 0].tolist() == found.candidate["y"][:, 0].tolist() == values
    assert found.scaled_max == 0


@IN_TURN
@given(TEXTS, st.data())
def test_a_text_that_one_model_changes_is_found(
    tmp_path: Path, echoes: dict[DType, OnnxRuntimeEngine], values: list[str], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(values) - 1))

    def change(texts: Array) -> Array:
        texts[place, 0] += " "
        return texts

    changed = Travelled(tmp_path, echoes[DType.BYTES].interface, change)
    assert compare(changed, echoes[DType.BYTES], bound(values, DType.BYTES), None, 1e-5).scaled_max == 1
