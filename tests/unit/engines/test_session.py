"""Settings of an engine's session: what they change, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import LINEAR, linear_model

from fairlead.core.plan import Candidate
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.opening import open_engine
from fairlead.engines.session import read_session
from fairlead.errors import SpecError
from fairlead.stores.document import dump, load

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize(
    "session", [("graph=none",), ("graph=extended", "arena=off"), ("pattern=off",), ("execution=parallel", "graph=basic")]
)
def test_a_session_answers_the_same_whatever_its_settings(session: tuple[str, ...], tmp_path: Path) -> None:
    path = linear_model(tmp_path / "m.onnx")
    usual = open_engine("onnxruntime", path, LINEAR, thread_count=2)
    tuned = open_engine("onnxruntime", path, LINEAR, thread_count=2, session=session)
    for name, values in usual.run({"x": ROWS}).items():
        np.testing.assert_allclose(tuned.run({"x": ROWS})[name], values, rtol=1e-6)


def test_settings_reach_the_runtime(tmp_path: Path) -> None:
    session = {"graph": "basic", "execution": "parallel", "arena": "off", "pattern": "off"}
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR, thread_count=2, session=session)
    options = engine._session.get_session_options()
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.inter_op_num_threads == 2
    assert "PARALLEL" in str(options.execution_mode)
    assert "BASIC" in str(options.graph_optimization_level)


@pytest.mark.parametrize("text", ["graph=most", "speed=high", "arena", "arena=on=off", ""])
def test_a_setting_that_the_engine_does_not_have_is_refused_with_those_that_it_has(text: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="onnxruntime has no setting") as caught:
        open_engine("onnxruntime", linear_model(tmp_path / "m.onnx"), LINEAR, session=(text,))
    assert "graph=all|extended|basic|none" in str(caught.value.hint)


def test_an_engine_without_settings_says_so() -> None:
    with pytest.raises(SpecError) as caught:
        read_session(("graph=all",), {}, engine="trees")
    assert caught.value.hint == "Known: none."


def test_a_candidate_keeps_its_session_and_one_of_an_earlier_release_has_none() -> None:
    candidate = Candidate("fast", (), "onnxruntime", 1, "why", session=("graph=basic",))
    assert load(dump(candidate), Candidate) == candidate
    before = b'{"engine":"onnxruntime","form":"onnx","name":"as-converted","passes":[],"reason":"","thread_count":1}'
    assert load(before, Candidate) == replace(candidate, name="as-converted", reason="", session=())
