"""Planning: equal arguments give equal plans, every candidate has its reason, and the impossible is refused before any work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.artifact import ArtifactForm
from fairlead.core.requirement import Requirement, parse_requirements
from fairlead.core.target import Target
from fairlead.errors import RequirementError, UnsupportedError
from fairlead.plan.stage import plan

ANY = st.lists(st.sampled_from(["accuracy>=0.9", "p99_ms<=5", "size_mb<=1", "cores<=2", "throughput>=10"]), unique=True)


@given(ANY, st.integers(1, 64))
def test_every_candidate_has_a_reason_a_name_of_its_own_and_no_more_threads_than_allowed(texts: list[str], cores: int) -> None:
    found = plan({"parameter_count": 10}, ArtifactForm.LAYER_GRAPH, parse_requirements(texts), Target(core_count=cores))
    allowed = min(cores, 2) if "cores<=2" in texts else cores
    names = [candidate.name for candidate in found.candidates]
    assert len(set(names)) == len(names) >= 2
    assert all(candidate.reason and 1 <= candidate.thread_count <= allowed for candidate in found.candidates)
    assert all(name.replace("-", "").isalnum() for name in names)
    assert found == plan({"parameter_count": 10}, ArtifactForm.LAYER_GRAPH, parse_requirements(texts), Target(core_count=cores))


def test_the_converted_model_itself_comes_first() -> None:
    first = plan({"parameter_count": 347146}, ArtifactForm.LAYER_GRAPH, (), Target()).candidates[0]
    assert first.passes == ()
    assert "347,146 parameters" in first.reason


def test_more_threads_are_tried_where_speed_is_required_and_else_said_not_to_be() -> None:
    quick = plan({}, ArtifactForm.LAYER_GRAPH, parse_requirements(["p99_ms<=5"]), Target(core_count=4))
    assert quick.candidates[-1].thread_count == 4
    assert "p99_ms<=5" in quick.candidates[-1].reason
    slow = plan({}, ArtifactForm.LAYER_GRAPH, (), Target(core_count=4))
    assert max(candidate.thread_count for candidate in slow.candidates) == 1
    assert slow.refused[0][0] == "clean-graph-4-threads"


def test_hardware_without_an_engine_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'tpu'"):
        plan({}, ArtifactForm.LAYER_GRAPH, (), Target(hardware="tpu"))


def test_less_than_one_core_is_refused() -> None:
    with pytest.raises(RequirementError, match="less than one core"):
        plan({}, ArtifactForm.LAYER_GRAPH, (Requirement("cores", 0.5, is_minimum=False),), Target())
